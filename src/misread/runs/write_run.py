"""Evaluates a trained network and writes the run folder."""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from misread import files
from misread.data.geometry import measure_geometry
from misread.models.summary import summarise
from misread.runs import run_folder
from misread.runs.card import card_text, write_card
from misread.runs.checksums import write_checksums
from misread.runs.history import COLUMNS, History
from misread.runs.predictions import Predictions
from misread.runs.prepare import Job
from misread.runs.record import (
    DataRecord,
    EngineRecord,
    Environment,
    Interruption,
    ModelRecord,
    RateChangeRecord,
    RunRecord,
    Timing,
    label_patch_record,
    this_environment,
)
from misread.runs.run import GRID, Run
from misread.training.backend import Capabilities
from misread.training.networks import members, predictor_network
from misread.training.predict import Predictor
from misread.training.recipe import Recipe
from misread.training.session import HistoryRow, TrainState


def write_run(
    folder: Path,
    job: Job,
    network: nn.Module,
    state: TrainState,
    engine: Capabilities,
    started: float,
    workers: int,
) -> Run:
    """Predict the test split, and write all files of the run folder, `run.json` last.

    network: the complete members with their final weights. started: the start of the call, by `time.perf_counter`.
    workers: processes that trained the members.
    """
    evaluate_started = time.perf_counter()
    recipe = _recipe_of(job, network)
    predicting = predictor_network(network, recipe)
    predictor = Predictor(predicting, job.data.image_shape, job.device)
    test = job.data.test
    predictions = Predictions(
        test.labels, predictor.probs(test.images), job.data.class_names, test.rows, test.files, images=test.images
    )
    evaluate_seconds = time.perf_counter() - evaluate_started
    history = _history(state, job.recipe, recipe)
    _write_files(folder, job, recipe, network, history, predictions)
    timing = Timing(
        load_seconds=job.data.load_seconds,
        fit_seconds=state.clock.fit_seconds,
        validate_seconds=state.clock.validate_seconds,
        evaluate_seconds=evaluate_seconds,
        total_seconds=time.perf_counter() - started,
    )
    environment = this_environment(torch.get_num_threads(), str(job.device), workers)
    record = _record(job, recipe, network, state, environment, engine, timing, history, predictions)
    run = Run(folder, record, data=job.data, device=job.device.type)
    run.network, run.predictor = predicting.eval(), predictor
    _draw(run)
    write_card(folder, card_text(record, recipe, predictions))
    text = record.model_dump_json(indent=2) + "\n"
    write_checksums(folder, text)
    files.write_text(folder / run_folder.RECORD, text)
    return run


def _recipe_of(job: Job, network: nn.Module) -> Recipe:
    """The recipe of the trained network: an interrupted ensemble has fewer members, a module from Python no layers."""
    changes = {"members": 1, "layers": ()} if job.custom_network else {"members": len(members(network))}
    return job.recipe.model_copy(update=changes)


def _history(state: TrainState, planned: Recipe, recipe: Recipe) -> list[HistoryRow]:
    """The epochs of the complete members; without a complete member, all epochs."""
    has_complete_members = planned.members > 1 and state.finished
    return state.history[: recipe.members * recipe.epochs] if has_complete_members else state.history


def _write_files(
    folder: Path, job: Job, recipe: Recipe, network: nn.Module, rows: list[HistoryRow], predictions: Predictions
) -> None:
    import safetensors.torch as safetensors

    files.write_text(folder / run_folder.RECIPE, recipe.to_toml())
    # copies, because a module may share tensors, which the format does not allow
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    (folder / run_folder.WEIGHTS).write_bytes(safetensors.save(weights))
    history = History.of(rows)
    columns = [*COLUMNS, *(c for c in history.columns if c not in COLUMNS)]
    history[columns].to_csv(folder / run_folder.HISTORY, index=False)
    splits = job.splits
    if splits.carved:
        np.savez(folder / run_folder.SPLITS, train_rows=splits.train.rows, val_rows=splits.val.rows)
    arrays = {"labels": predictions.labels, "probs": predictions.probs, "index": predictions.rows}
    if predictions.files is not None:
        arrays["files"] = np.array(predictions.files, dtype=str)
    np.savez_compressed(folder / run_folder.predictions_file("test"), **arrays)  # type: ignore[arg-type]
    predictions.misreads.table.to_csv(folder / run_folder.misreads_file("test"), index=False)
    if job.fixed:
        files.write_bytes(folder / run_folder.LABEL_PATCH, job.fixed.patch.contents)


def _draw(run: Run) -> None:
    """Draw the first figures of the lesson. The report has the others."""
    figures = run.folder / run_folder.FIGURES
    figures.mkdir(exist_ok=True)
    run.history.plot().save(figures / "history.png")
    run.misreads.sample(GRID, seed=0).figure().save(figures / "misreads.png")


def _record(
    job: Job,
    recipe: Recipe,
    network: nn.Module,
    state: TrainState,
    environment: Environment,
    engine: Capabilities,
    timing: Timing,
    history: list[HistoryRow],
    predictions: Predictions,
) -> RunRecord:
    metrics = {"test": predictions.metrics(recipe.top_k)}
    if job.fixed:
        metrics["test_fixed"] = predictions.with_labels(job.fixed.data.test.labels).metrics(recipe.top_k)
    summary, data = summarise(network, job.data.image_shape), job.data
    return RunRecord(
        status="interrupted" if state.is_interrupted else "complete",
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        seed=recipe.seed,
        recipe=recipe.name,
        recipe_choice=job.recipe_choice,
        epochs_trained=len(history),
        best_epoch=state.best.epoch if state.best and not state.target_reached else None,
        target_reached=state.target_reached if recipe.target_accuracy else None,
        stopped=state.stopped,
        interruptions=tuple(Interruption(**interruption) for interruption in state.interruptions),
        rate_changes=tuple(RateChangeRecord(**asdict(c)) for c in state.rate_changes if c.position <= state.position),
        data=DataRecord(
            name=data.name,
            source=data.source,
            size=data.size,
            fingerprint=data.fingerprint,
            class_names=data.class_names,
            image_shape=data.image_shape,
            n_train=len(job.splits.train),
            n_val=len(job.splits.val),
            n_test=len(data.test),
            validation=job.splits.validation,
            carved_test=data.carved_test,
            geometry=asdict(measure_geometry(data.train.images)),
        ),
        model=ModelRecord(
            network=job.network_name,
            parameters=summary.parameters,
            trainable=summary.trainable,
            bytes=summary.size_bytes,
        ),
        environment=environment,
        engine=EngineRecord(**asdict(engine)),
        timing=timing,
        label_patch=label_patch_record(job.fixed) if job.fixed else None,
        metrics=metrics,
    )
