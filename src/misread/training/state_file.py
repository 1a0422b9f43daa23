"""A training's state as bytes: a safetensors file. Its metadata has the other values and a hash of everything."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from misread.errors import RunError
from misread.training.session import BestEpoch, Clock, RateChange, TrainState, WeightAverage

FORMAT = 2  # 2 has changes of the learning rate


def state_bytes(state: TrainState) -> bytes:
    """The state at the last `capture`, readable by any safetensors library."""
    import safetensors.torch as safetensors

    groups: dict[str, Mapping[str, Tensor]] = {
        "backend": state.backend,
        "average": state.average.mean,
        "best": state.best.weights if state.best else {},
        "epoch": {"losses": state.losses},
        **{f"finished.{i}": weights for i, weights in enumerate(state.finished)},
    }
    tensors = {f"{group}:{k}": t.detach().cpu().contiguous() for group, ts in groups.items() for k, t in ts.items()}
    addresses = Counter(tensor.data_ptr() for tensor in tensors.values())  # the format does not allow shared memory
    tensors = {name: t.clone() if addresses[t.data_ptr()] > 1 else t for name, t in tensors.items()}
    values = {
        "format": FORMAT,
        "seed": state.seed,
        "member": state.member,
        "epoch": state.epoch,
        "step": state.step,
        "correct": state.correct,
        "history": state.history,
        "clock": asdict(state.clock),
        "average_updates": state.average.updates,
        "best": {"epoch": state.best.epoch, "value": state.best.value} if state.best else None,
        "target_reached": state.target_reached,
        "finished": len(state.finished),
        "stopped": state.stopped,
        "interruptions": state.interruptions,
        "rate_changes": [asdict(change) for change in state.rate_changes],
    }
    text = json.dumps(values)
    # a single entry, because the order of several entries is not deterministic
    return safetensors.save(tensors, {"misread": json.dumps({"state": text, "sha256": _digest(text, tensors)})})


def read_state(contents: bytes, where: str) -> TrainState:
    """The state from the bytes of `state_bytes`. Raises RunError: damaged, or from a newer misread."""
    import safetensors.torch as safetensors
    from safetensors import SafetensorError

    try:
        tensors = safetensors.load(contents)
        length = int.from_bytes(contents[:8], "little")
        metadata = json.loads(json.loads(contents[8 : 8 + length])["__metadata__"]["misread"])
        values: dict[str, Any] = json.loads(metadata["state"])
        intact = metadata["sha256"] == _digest(metadata["state"], tensors)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"The checkpoint {where} is damaged: {error}.") from None
    if not intact:
        raise RunError(f"The checkpoint {where} is damaged: its contents do not match their hash.")
    if values["format"] > FORMAT:
        raise RunError(f"The checkpoint {where} was written by a newer misread. Install it to resume.")

    def group(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{name}:"): t for k, t in tensors.items() if k.startswith(f"{name}:")}

    best = values["best"]
    return TrainState(
        seed=values["seed"],
        member=values["member"],
        epoch=values["epoch"],
        step=values["step"],
        losses=group("epoch")["losses"],
        correct=values["correct"],
        history=values["history"],
        clock=Clock(**values["clock"]),
        average=WeightAverage(values["average_updates"], group("average")),
        best=BestEpoch(best["epoch"], best["value"], group("best")) if best else None,
        target_reached=values["target_reached"],
        finished=[group(f"finished.{i}") for i in range(values["finished"])],
        stopped=values["stopped"],
        interruptions=values["interruptions"],
        rate_changes=[RateChange(**change) for change in values.get("rate_changes", [])],  # format 1 has none
        backend=group("backend"),
    )


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)  # any dtype, as bytes
    return digest.hexdigest()
