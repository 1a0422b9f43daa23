"""The camera of the room Draw, with the picture that Chromium's own false camera gives."""

from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]
PAPER_IS_EMPTY = """() => { const paper = document.querySelector("canvas.paper");
    const { data } = paper.getContext("2d").getImageData(0, 0, paper.width, paper.height);
    return data.every((value, i) => value === data[i % 4]) }"""
LIVE_TRACKS = (
    "() => window.streams.flatMap((stream) => stream.getTracks()).filter((track) => track.readyState === 'live').length"
)


@pytest.fixture
def room(studio_page: Open) -> Any:
    page = studio_page("room=draw")
    page.wait_for_selector("button:has-text('Camera'):visible")
    page.evaluate("""() => {
        window.streams = [];
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => {
            const found = await ask(wish);
            window.streams.push(found);
            return found;
        } }""")
    return page


def test_a_picture_of_the_camera_is_read_and_the_camera_goes_off(room: Any) -> None:
    assert room.evaluate(PAPER_IS_EMPTY)
    room.click("button:has-text('Camera')")
    room.wait_for_function("() => document.querySelector('dialog.camera video')?.videoWidth > 0")
    assert room.evaluate(LIVE_TRACKS) == 1
    room.click("dialog.camera button.main")
    room.wait_for_selector("dialog.camera", state="detached")
    room.wait_for_function(f"() => !({PAPER_IS_EMPTY})()")
    assert room.evaluate(LIVE_TRACKS) == 0
    room.click("button:has-text('Undo')")
    room.wait_for_function(PAPER_IS_EMPTY)


@pytest.mark.parametrize("leave", ["button", "Escape"])
def test_leaving_the_camera_takes_nothing_and_turns_it_off(room: Any, leave: str) -> None:
    room.click("button:has-text('Camera')")
    room.wait_for_function("() => document.querySelector('dialog.camera video')?.videoWidth > 0")
    if leave == "Escape":
        room.keyboard.press("Escape")
    else:
        room.click("dialog.camera button:not(.main)")
    room.wait_for_selector("dialog.camera", state="detached")
    assert room.evaluate(PAPER_IS_EMPTY)
    assert room.evaluate(LIVE_TRACKS) == 0


def test_a_refused_camera_is_said_in_words(room: Any) -> None:
    room.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')) }"
    )
    room.click("button:has-text('Camera')")
    room.wait_for_selector(".toast:has-text('The camera cannot be used')")
