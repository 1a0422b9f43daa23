"""The named data sets: title, licence, mirrors and hashes."""

from dataclasses import dataclass

FILES = {
    ("train", "images"): "train-images-idx3-ubyte.gz",
    ("train", "labels"): "train-labels-idx1-ubyte.gz",
    ("test", "images"): "t10k-images-idx3-ubyte.gz",
    ("test", "labels"): "t10k-labels-idx1-ubyte.gz",
}
DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@dataclass(frozen=True)
class NamedData:
    """A public data set of four IDX files.

    contents_sha256: of the decompressed bytes, in the order of `FILES`. None if they are not published: then
                     `gz_sha256`, of the `.gz` files, is checked.
    mirrors:         URLs of folders with the four files.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    licence: str
    homepage: str
    mirrors: tuple[str, ...]
    contents_sha256: tuple[str, str, str, str] | None = None
    gz_sha256: tuple[str, str, str, str] = ("", "", "", "")


NAMED = {
    data.name: data
    for data in (
        NamedData(
            name="mnist",
            title="MNIST: 70,000 handwritten digits, 28x28 grey",
            class_names=DIGIT_NAMES,
            licence="CC BY-SA 3.0 (LeCun, Cortes, Burges)",
            homepage="http://yann.lecun.com/exdb/mnist/",
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            contents_sha256=(
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
        NamedData(
            name="fashion-mnist",
            title="Fashion-MNIST: 70,000 pieces of clothing, 28x28 grey",
            class_names=FASHION_NAMES,
            licence="MIT (Zalando SE)",
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            contents_sha256=(
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
        NamedData(
            name="kmnist",
            title="KMNIST: 70,000 cursive Japanese characters, 28x28 grey",
            class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            licence="CC BY-SA 4.0 (CODH, adapted from the Kuzushiji Dataset, doi:10.20676/00000341)",
            homepage="http://codh.rois.ac.jp/kmnist/",
            mirrors=(
                "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            ),
            gz_sha256=(
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
        ),
    )
}
