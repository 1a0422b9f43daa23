"""The recipe: everything that decides a training, as validated data that reads and writes TOML."""

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
LearningRate = Annotated[float, Field(gt=0, le=1e6)]  # beyond it float32 overflows before any loss is seen


class Loss(Spec):
    """Cross-entropy. `auto` takes the form that fits the labels: sparse for whole numbers, else for one-hot."""

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


Optimizer = Annotated[Adam | AdamW | SGD | RMSprop, Field(discriminator="name")]


class Constant(Spec):
    """The optimizer's learning rate throughout."""

    name: Literal["constant"] = "constant"


class Cosine(Spec):
    """From the learning rate down to `final_fraction` of it along half a cosine, after a linear `warmup`."""

    name: Literal["cosine"] = "cosine"
    warmup: Fraction = 0.0
    final_fraction: Fraction = 0.0


class OneCycle(Spec):
    """Up from `start_fraction` of the learning rate to all of it by `peak`, then down to `final_fraction`, linearly."""

    name: Literal["one-cycle"] = "one-cycle"
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start_fraction: Fraction = 0.04
    final_fraction: Fraction = 0.0


Schedule = Annotated[Constant | Cosine | OneCycle, Field(discriminator="name")]


class Validation(Spec):
    """Which images choose. `carve`: the data's own validation split, else `fraction` of every class of train.

    `show-test`: the test split is shown as validation, the way lessons do; nothing may then be chosen on it.
    """

    name: Literal["carve", "show-test"] = "carve"
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1


class EarlyStopping(Spec):
    """Stop when `monitor` has not got better for `patience` epochs, and keep the best epoch's weights."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: Positive = 3


class Augmentation(Spec):
    """How far training images are varied, each epoch anew. Nothing is varied by what is left out.

    `shift` and `elastic` are shares of the image's side, so that a recipe means the same at every image size;
    `rotation` and `shear` are degrees. Each is the most that is drawn, either way, but `elastic`, which is the root
    mean square of a pixel's displacement along one side. `elastic_smoothness` is the sigma of Simard's Gaussian.
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

    @property
    def said(self) -> str:
        """What is set, in one line."""
        return (
            ", ".join(f"{name} {value}" for name, value in self.model_dump(exclude_defaults=True).items()) or "nothing"
        )


class WeightAveraging(Spec):
    """End with the mean of the weights over the last share of all steps, instead of with the last weights."""

    last: Annotated[float, Field(gt=0, le=1)] = 0.25


class ViewAveraging(Spec):
    """Predict the mean over several views of an image: moved by `shift` pixels in four directions, and mirrored."""

    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class Recipe(Spec):
    """Everything that decides a training. Fields that are left out take the defaults of Keras."""

    name: Annotated[str, Field(pattern=r"^[\w .+-]+$")] = "own"  # part of the run folder's name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    epochs: Positive = 10
    min_steps: Annotated[int, Field(ge=0)] = (
        0  # fewer images take more epochs, so that there are at least so many steps
    )
    seconds: PositiveFloat | None = None  # of training, in place of epochs: the schedule fits them
    batch_size: Positive = 32
    precision: Literal["float32", "mixed"] = "float32"
    top_k: Positive | None = None  # also report how often the label is among the k most probable classes
    loss: Loss = Loss()
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    augmentation: Augmentation | None = None
    validation: Validation = Validation()
    early_stopping: EarlyStopping | None = None
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None  # on validation: the epoch reaching it ends it
    weight_averaging: WeightAveraging | None = None
    test_time_augmentation: ViewAveraging | None = None
    members: Positive = 1  # networks whose probabilities are averaged
    layers: tuple[LayerSpec, ...] = ()

    def model_post_init(self, context: Any, /) -> None:
        for stopping in ("early_stopping", "target_accuracy"):
            if getattr(self, stopping) is None:
                continue
            if self.validation.name == "show-test":
                raise ValueError(
                    f'{stopping}: it would choose on the test split, since validation.name is "show-test"; '
                    'set validation.name to "carve"'
                )
            if self.members > 1:
                raise ValueError(f"members: an ensemble trains every epoch; leave {stopping} out, or set members to 1")
        if self.seconds is not None and (self.members > 1 or self.weight_averaging):
            raise ValueError(
                "seconds: members and weight_averaging need a training of known length; leave them out, or set epochs"
            )

    def for_images(self, count: int) -> "Recipe":
        """With as many epochs as `min_steps` takes on this number of training images."""
        steps_an_epoch = -(-count // self.batch_size)
        return self.model_copy(update={"epochs": max(self.epochs, -(-self.min_steps // steps_an_epoch))})

    def member_seed(self, member: int) -> int:
        """The seed of a member of the ensemble, from 0: no two recipes that differ by their seed alone share one."""
        return (self.seed * self.members + member) % 2**63

    def to_toml(self) -> str:
        """The recipe as TOML, every field written out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))


def parse_recipe(values: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from nested values. Raises RecipeError naming every problem, with the nearest right spelling."""
    try:
        return TypeAdapter(Recipe).validate_python(values)
    except ValidationError as error:
        raise RecipeError(
            f"{where} is not a recipe:\n" + "\n".join(f"  {p}" for p in problems_in(error, Recipe))
        ) from None


def load_recipe(recipe: str | Path | Recipe, settings: Iterable[str] = ()) -> Recipe:
    """A recipe by its name, from a TOML file, or as it is; then `settings` ("key.key=value") laid over it.

    A setting's value is read as TOML, and as text where it is none. Setting a table's `name`, or a layer's `type`,
    starts that table afresh: the arguments of one optimizer mean nothing to another. Whoever sets `epochs` gets just
    so many: `min_steps` is then 0, if it is not set as well.
    Raises RecipeError: no such recipe or file, or settings that make no recipe.
    """
    if isinstance(recipe, Recipe):
        values, where = recipe.model_dump(exclude_none=True), f"recipe {recipe.name!r}"
    else:
        values, where = _read(recipe)
    settings = list(settings)
    if settings:
        where += " with " + ", ".join(settings)
        for setting in sorted(settings, key=lambda s: s.split("=")[0].split(".")[-1] not in ("name", "type")):
            _lay_over(values, setting)
        keys = {setting.split("=")[0].strip() for setting in settings}
        if "epochs" in keys and "min_steps" not in keys:
            values.pop("min_steps", None)
    return parse_recipe(values, where)


@cache
def recipe_names() -> tuple[str, ...]:
    """The names of the recipes that come with misread."""
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
        encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # Windows shells write both
        values = tomllib.loads(raw.decode(encoding))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}.") from None
    return {"name": path.stem, **values}, str(path)


def _lay_over(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"The setting {setting!r} is not of the form key=value, like optimizer.learning_rate=0.01.")
    *path, last = key.strip().split(".")
    table: Any = values
    parent: Any = None
    step = ""
    for step in path:
        parent = table
        table = table[_index(table, step, setting)] if isinstance(table, list) else table.setdefault(step, {})
        if not isinstance(table, dict | list):
            raise RecipeError(f"The setting {setting!r}: {step!r} is a single value, with nothing below it.")
    value = _value(text)
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
