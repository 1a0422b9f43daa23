"""Maps, nearest images and lists of images: equal to scikit-learn, to brute force, and to the report's tables."""

import base64
import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from misread.studio import feature_map
from misread.studio.background import result_folder
from misread.studio.features import split_features
from studios import Client, small_run


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(small_run(tmp_path_factory.mktemp("map")))


def test_features_are_what_the_last_layer_gets(client: Client) -> None:
    features = split_features(client.run, "test")
    last = list(client.run.network.children())[-1]
    weights, bias = (p.detach().numpy() for p in (last.weight, last.bias))
    logits = features @ (weights.T if weights.shape[1] == features.shape[1] else weights) + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(powers / powers.sum(axis=1, keepdims=True), client.run.predictions().probs, atol=1e-5)


def test_pca_map_equals_scikit_learn(client: Client) -> None:
    answer, _ = client.when_ready("map/all?method=pca")
    assert answer.json()["splits"] == [
        {"name": "train", "n": client.run.record.data.n_train},
        {"name": "test", "n": 120},
    ]
    read = client.get("map/all/points?method=pca").content
    columns = np.frombuffer(read, "<f4").reshape(-1, 4)
    features = np.concatenate([split_features(client.run, name) for name in ("train", "test")])
    expected = PCA(2, random_state=0).fit_transform(features)
    low, high = expected.min(axis=0), expected.max(axis=0)
    assert np.allclose(columns[:, :2], (expected - (low + high) / 2) * 2 / (high - low).max(), atol=1e-4)
    probs = np.concatenate([client.run.predictions(name).probs for name in ("train", "test")])
    assert np.array_equal(columns[:, 2], probs.argmax(axis=1))
    assert np.allclose(columns[:, 3], probs.max(axis=1))


def test_a_map_is_computed_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.when_ready("map/test?method=tsne")
    first = client.get("map/test/points?method=tsne").content

    def fail(*arguments: object) -> None:
        raise AssertionError("it was computed again")

    monkeypatch.setattr("misread.studio.map_routes.place", fail)
    again = Client(client.run)  # another server
    assert again.get("map/test?method=tsne").status_code == 200
    assert again.get("map/test/points?method=tsne").content == first


def test_what_is_kept_is_computed_again_if_it_is_damaged(client: Client) -> None:
    client.when_ready("map/test?method=pca")
    client.when_ready("causes/test")
    first = [client.get(path).content for path in ("map/test/points?method=pca", "causes/test")]
    features = split_features(client.run, "test").copy()
    for path in result_folder(client.run.folder).iterdir():
        contents = bytearray(path.read_bytes())
        contents[len(contents) // 2] ^= 1
        path.write_bytes(contents)
    assert client.get("map/test/points?method=pca").status_code == 404
    assert np.array_equal(split_features(client.run, "test"), features)
    assert client.when_ready("map/test?method=pca")[1] > 0
    assert client.when_ready("causes/test")[1] > 0
    assert [client.get(path).content for path in ("map/test/points?method=pca", "causes/test")] == first


def test_tsne_keeps_neighbours_and_places_the_images_beyond_its_sample_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(300) % 3
    features = rng.normal(0, 0.3, (300, 60)).astype(np.float32)
    features[np.arange(300), groups] += 20
    monkeypatch.setattr(feature_map, "SAMPLE", 120)
    shares: list[float] = []
    points = feature_map.place(features, "tsne", shares.append)
    assert trustworthiness(features, points, n_neighbors=5) > 0.75
    centres = np.array([points[groups == k].mean(axis=0) for k in range(3)])
    assert np.array_equal(np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1), groups)
    assert shares == sorted(shares)
    assert np.isclose(np.abs(points).max(), 1)


@pytest.mark.parametrize("method", feature_map.METHODS)
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (2, 4), (7, 1), (12, 1)])
def test_few_images_have_a_map_too(method: str, shape: tuple[int, int]) -> None:
    points = feature_map.place(np.random.default_rng(0).normal(size=shape).astype(np.float32), method)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()


def test_nearest_images_equal_brute_force(client: Client) -> None:
    features, labels = split_features(client.run, "train"), client.run.split("train").labels
    asked = split_features(client.run, "test")
    for position in (0, 5, 77):
        pixels = client.run.data.test.images[position].tobytes()
        found = client.post("nearest", {"pixels": base64.b64encode(pixels).decode(), "count": 12}).json()
        distances = np.linalg.norm(features.astype(float) - asked[position].astype(float), axis=1)
        assert np.allclose([one["distance"] for one in found], np.sort(distances)[:12], atol=1e-3)
        assert np.allclose(distances[[one["row"] for one in found]], np.sort(distances)[:12], atol=1e-3)
        assert [one["label"] for one in found] == labels[[one["row"] for one in found]].tolist()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pixels": "AAAA"}, "has 3 bytes; an image of (8, 8, 1) (H, W, C) has 64"),
        ({"pixels": base64.b64encode(bytes(64)).decode(), "count": 0}, "from 1 to 100"),
        ({"pixels": base64.b64encode(bytes(64)).decode(), "count": True}, "from 1 to 100"),
    ],
)
def test_nearest_refuses_what_is_no_image(client: Client, body: dict[str, object], said: str) -> None:
    answer = client.post("nearest", body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_misread_images_have_the_causes_of_the_run(client: Client) -> None:
    found = client.get("misreads/test").json()
    table = client.run.misreads.explain().table
    assert found["items"]["index"] == table["index"].tolist()
    assert found["items"]["hash"] == table["hash"].tolist()
    assert found["positions"] == client.run.predictions().misread_positions.tolist()
    answer, waited = client.when_ready("causes/test")
    assert waited > 0
    explained = answer.json()
    assert [explained["causes"][k] for k in explained["items"]["cause"]] == table["cause"].tolist()
    assert Client(client.run).get("causes/test").json() == explained  # kept


def test_lists_of_images(client: Client) -> None:
    found = client.get("misreads/test?rows=5,0,5,7").json()
    assert found["positions"] == [5, 0, 7]
    assert found["items"]["label"] == client.run.data.test.labels[[5, 0, 7]].tolist()
    doubtful = client.get("misreads/test?list=doubtful").json()
    assert doubtful["items"]["index"] == client.run.label_issues()["index"].head(200).tolist()
    for path, status, said in (
        ("misreads/test?list=all", 400, "no list 'all'"),
        ("misreads/test?rows=x", 400, "whole numbers"),
        ("misreads/test?rows=120", 404, "the split has 120"),
        (f"misreads/test?rows={','.join(['0'] * 2001)}", 400, "Choose at most 2,000"),
        ("misreads/train?list=doubtful", 400, "trained on its train images"),
        ("misreads/%2e%2e", 404, ""),
        ("map/nothing", 404, "There is no split 'nothing'"),
        ("map/test?method=umap", 400, "there are pca, tsne"),
        ("map/val/points?method=tsne", 404, "not computed yet"),
    ):
        answer = client.get(path)
        assert answer.status_code == status, path
        assert said in json.dumps(answer.json())
