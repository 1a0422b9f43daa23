"""The recipe: all settings of a training, as validated data that is read from and written to TOML."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from misread.errors import RecipeError
from misread.models.layer_specs import LayerSpec, Positive, Spec
from misread.names import nearest
from misread.training.recipe_problems import problems_in

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
ImageScale = Annotated[float, Field(gt=0, le=1)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]  # above it float32 overflows in the first step


class Loss(Spec):
    """Cross-entropy. `auto` takes the form that fits the labels: sparse for whole numbers, categorical for one-hot."""

    name: Literal["auto", "sparse_categorical_crossentropy", "categorical_crossentropy"] = "auto"
    label_smoothing: Fraction = 0.0


class Adam(Spec):
    name: Literal["adam"] = "adam"
    learning_rate: LearningRate = 0.001
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: PositiveFloat = 1e-7


class AdamW(Spec):
    name: Literal["adamw"] = "adamw"
    learning_rate: LearningRate = 0.001
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: PositiveFloat = 1e-7
    weight_decay: Annotated[float, Field(ge=0)] = 0.004


class SGD(Spec):
    name: Literal["sgd"] = "sgd"
    learning_rate: LearningRate = 0.01
    momentum: Fraction = 0.0
    nesterov: bool = False


class RMSprop(Spec):
    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRate = 0.001
    rho: Fraction = 0.9
    momentum: Fraction = 0.0
    epsilon: PositiveFloat = 1e-7
    centered: bool = False


class Muon(Spec):
    """Orthogonalised momentum for the weights of hidden layers; Adam for the last layer, biases and normalisation.

    `learning_rate` is the change of a hidden layer's weights in one step, as a share of their norm, which stays
    constant. So a normalisation must follow each hidden layer. `adam_learning_rate` follows the same schedule.
    """

    name: Literal["muon"] = "muon"
    learning_rate: LearningRate = 0.2
    momentum: Fraction = 0.6
    adam_learning_rate: LearningRate = 0.01
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.99
    epsilon: PositiveFloat = 1e-7


Optimizer = Annotated[Adam | AdamW | SGD | RMSprop | Muon, Field(discriminator="name")]


class Constant(Spec):
    """The optimizer's learning rate at every step."""

    name: Literal["constant"] = "constant"


class Cosine(Spec):
    """From the learning rate down to `final_fraction` of it along half a cosine, after a linear `warmup`."""

    name: Literal["cosine"] = "cosine"
    warmup: Fraction = 0.0
    final_fraction: Fraction = 0.0


class OneCycle(Spec):
    """Linear increase from `start_fraction` of the learning rate to 1 at `peak`, then decrease to `final_fraction`."""

    name: Literal["one-cycle"] = "one-cycle"
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start_fraction: Fraction = 0.04
    final_fraction: Fraction = 0.0


Schedule = Annotated[Constant | Cosine | OneCycle, Field(discriminator="name")]


class Validation(Spec):
    """The validation images. `carve`: the data's own validation split, else `fraction` of every class of train.

    `show-test`: the test split, as lessons often do. Then nothing may be chosen by the validation scores.
    """

    name: Literal["carve", "show-test"] = "carve"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


class EarlyStopping(Spec):
    """Stop if `monitor` has not improved for `patience` epochs, and use the weights of the best epoch."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: Positive = 3


class Augmentation(Spec):
    """Random changes of the training images, drawn anew in every epoch. Settings that are left out change nothing.

    `shift` and `elastic` are shares of the image's side, so that they mean the same at every image size. `rotation` and
    `shear` are in degrees. Each value is the maximum in both directions, except `elastic`: the root mean square of a
    pixel's displacement along one axis. `elastic_smoothness` is the sigma of Simard's Gaussian, as a share of the side.
    `flip` mirrors half of the images. `erasing` is the share of images that lose a rectangle of at most `erasing_area`
    of their area.
    """

    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    shear: Annotated[float, Field(ge=0, le=45)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    elastic_smoothness: Annotated[float, Field(ge=0.05, le=1)] = 0.15
    flip: bool = False
    erasing: Annotated[float, Field(ge=0, le=1)] = 0.0
    erasing_area: Annotated[float, Field(ge=0.02, le=1)] = 0.2

    def __str__(self) -> str:
        """The settings that differ from the defaults, in one line."""
        return (
            ", ".join(f"{name} {value}" for name, value in self.model_dump(exclude_defaults=True).items()) or "nothing"
        )


class WeightAveraging(Spec):
    """Use the mean of the weights over the share `last` of all steps, instead of the last weights."""

    last: Annotated[float, Field(gt=0, le=1)] = 0.25


class ViewAveraging(Spec):
    """Test-time augmentation: the mean prediction over several views of an image.

    The views are the image, its shifts by `shift` pixels in four directions, and with `flip` all of these mirrored.
    """

    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class Backbone(Spec):
    """A pretrained network in front of the layers, which then get its features instead of images.

    name:      `timm:NAME`, `timm:NAME=FILE` or the path of a .pt2 file; see `load_backbone`.
    size:      the side that images are resized to; the network's own by default.
    fine_tune: also train the backbone. Otherwise it never changes, and the features are computed once.
    sha256:    of the weights; set when a training begins, and checked whenever they are loaded again.
    """

    name: str
    size: Positive | None = None
    fine_tune: bool = False
    sha256: str = ""

    @property
    def is_file(self) -> bool:
        """Whether its weights are in a file that the name gives the path of."""
        return not self.name.startswith("timm:") or "=" in self.name


class Recipe(Spec):
    """All settings of a training. Fields that are left out have Keras's defaults."""

    name: Annotated[str, Field(pattern=r"^[\w .+-]+$")] = "own"  # part of the run folder's name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    epochs: Positive = 10
    min_steps: Annotated[int, Field(ge=0)] = 0  # with few images, train more epochs to reach this number of steps
    seconds: PositiveFloat | None = None  # of training time, instead of epochs; the schedule follows it
    batch_size: Positive = 32
    shuffle_window_mib: Positive = 1024  # of training images shuffled together; more are shuffled in such windows
    image_scales: Annotated[tuple[ImageScale, ...], Field(min_length=1)] = (1.0,)  # for equal parts of the training
    precision: Literal["float32", "mixed"] = "float32"
    class_balance: Annotated[float, Field(ge=0, le=1)] = 0.0  # 0: classes as frequent as in the data; 1: all equally
    top_k: Positive | None = None  # also report how often the label is among the k most probable classes
    loss: Loss = Loss()
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    augmentation: Augmentation | None = None
    validation: Validation = Validation()
    early_stopping: EarlyStopping | None = None
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None  # stop at this validation accuracy
    weight_averaging: WeightAveraging | None = None
    test_time_augmentation: ViewAveraging | None = None
    members: Positive = 1  # networks whose probabilities are averaged
    backbone: Backbone | None = None
    layers: tuple[LayerSpec, ...] = ()

    def model_post_init(self, context: Any, /) -> None:
        for stopping in ("early_stopping", "target_accuracy"):
            if getattr(self, stopping) is None:
                continue
            if self.validation.name == "show-test":
                raise ValueError(
                    f'{stopping}: it would choose on the test split, because validation.name is "show-test"; '
                    'set validation.name to "carve"'
                )
            if self.members > 1:
                raise ValueError(f"members: an ensemble cannot stop early; leave {stopping} out, or set members to 1")
        if self.augmentation and self.backbone and not self.backbone.fine_tune:
            raise ValueError(
                "augmentation: the features of a frozen backbone are computed once, from unchanged images; leave "
                "augmentation out, or set backbone.fine_tune to true"
            )
        if self.members > 1 and self.backbone and self.backbone.fine_tune:
            raise ValueError("members: a backbone is fine-tuned in a single network; set members to 1")
        if self.seconds is not None and self.members > 1:
            raise ValueError("seconds: members need a known number of steps; set members to 1, or set epochs")

    def replace(self, **changes: Any) -> "Recipe":
        """A validated copy of this recipe with some fields changed.

        A dict or an object replaces a whole table: `replace(epochs=3, optimizer={"name": "sgd"})`. To change a single
        value in a table, use `load_recipe(recipe, {"optimizer.learning_rate": 0.01})`.
        Raises RecipeError: the result is not a valid recipe; the message lists every problem.
        """
        return load_recipe(self, changes)

    def for_images(self, count: int) -> "Recipe":
        """This recipe with enough epochs to reach `min_steps` on this number of training images."""
        steps_per_epoch = -(-count // self.batch_size)
        return self.model_copy(update={"epochs": max(self.epochs, -(-self.min_steps // steps_per_epoch))})

    def member_seed(self, member: int) -> int:
        """The seed of a member, counted from 0. Recipes that differ only in their seed share none."""
        return (self.seed * self.members + member) % 2**63

    def to_toml(self) -> str:
        """The recipe as TOML, with every field."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested values. Raises RecipeError: not a valid recipe; the message lists every problem."""
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        raise RecipeError(
            f"{where} is not a valid recipe:\n" + "\n".join(f"  {p}" for p in problems_in(error, Recipe))
        ) from None


Settings = Mapping[str, Any] | Iterable[str]  # {"epochs": 3, "optimizer.learning_rate": 0.01} or "key=value" strings


def parse_settings(settings: Settings, **more: Any) -> dict[str, Any]:
    """Settings as a dict. The value in a "key=value" string is parsed as TOML; if that fails, it is a string.

    more: further settings, which override these; those that are None are left out.
    Raises RecipeError: a string that is not of this form.
    """
    parsed: dict[str, Any] = {}
    if isinstance(settings, Mapping):
        parsed |= settings
    else:
        for text in settings:
            key, equals, value = text.partition("=")
            if not equals or not key.strip():
                raise RecipeError(
                    f"The setting {text!r} is not of the form key=value, like optimizer.learning_rate=0.01."
                )
            parsed[key.strip()] = _value(value)
    return parsed | {key: value for key, value in more.items() if value is not None}


def backbone_settings(backbone: str | None, fine_tune: bool) -> dict[str, Any]:
    """The settings for a backbone. Raises RecipeError: there is none to fine-tune."""
    if fine_tune and not backbone:
        raise RecipeError("There is no backbone to fine-tune. Name one, for example --backbone timm:resnet18.")
    return {"backbone.name": backbone, "backbone.fine_tune": fine_tune} if backbone else {}


def load_recipe(recipe: str | Path | Recipe, settings: Settings = ()) -> Recipe:
    """A recipe from a name, a TOML file or a Recipe, with settings that override its values.

    Setting a table's `name` or a layer's `type` to another value resets that table, because the arguments of one
    optimizer or layer do not fit another. Setting `epochs` also sets `min_steps` to 0, unless it is set as well.
    Raises RecipeError: no such recipe or file, or the result is not a valid recipe.
    """
    if isinstance(recipe, Recipe):
        values, where = recipe.model_dump(exclude_none=True), f"recipe {recipe.name!r}"
    else:
        values, where = _read(recipe)
    changes = parse_settings(settings)
    if changes:
        where += " with " + ", ".join(f"{key}={value}" for key, value in changes.items())
        for key in sorted(changes, key=lambda k: k.split(".")[-1] not in ("name", "type")):
            _override(values, key, changes[key])
        if "epochs" in changes and "min_steps" not in changes:
            values.pop("min_steps", None)
    return parse_recipe(values, where)


@cache
def recipe_names() -> tuple[str, ...]:
    """The names of the recipes included in misread."""
    return tuple(sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml")))


def _folder() -> Any:
    return resources.files("misread.training") / "recipes"


def _read(recipe: str | Path) -> tuple[dict[str, Any], str]:
    if str(recipe) in recipe_names():
        return tomllib.loads((_folder() / f"{recipe}.toml").read_text(encoding="utf-8")), f"recipe {recipe!r}"
    path = Path(recipe).expanduser()
    if not path.is_file():
        raise RecipeError(
            f"There is no recipe or recipe file {str(recipe)!r}.{nearest(str(recipe), recipe_names())}\n"
            f"Known recipes: {', '.join(recipe_names())}; or the path of a .toml file."
        )
    try:
        raw = path.read_bytes()
        encoding = (
            "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        )  # shells on Windows write both
        values = tomllib.loads(raw.decode(encoding))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from None
    return {"name": path.stem, **values}, str(path)


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    setting = f"{key}={value}"
    *path, last = key.split(".")
    table: Any = values
    parent: Any = None
    step = ""
    for step in path:
        parent = table
        table = table[_index(table, step, setting)] if isinstance(table, list) else table.setdefault(step, {})
        if not isinstance(table, dict | list):
            raise RecipeError(f"The setting {setting!r}: {step!r} is a single value, not a table. Set it directly.")
    if isinstance(table, list):
        table[_index(table, last, setting)] = value
    elif last in ("name", "type") and isinstance(parent, dict | list) and table.get(last) != value:
        cast(Any, parent)[int(step) if isinstance(parent, list) else step] = {last: value}
    else:
        table[last] = value


def _index(table: list[Any], step: str, setting: str) -> int:
    if not step.isdecimal() or int(step) >= len(table):
        raise RecipeError(
            f"The setting {setting!r}: there is no layer {step}; layers are numbered 0..{len(table) - 1}."
        )
    return int(step)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
