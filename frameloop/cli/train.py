"""`frameloop train`: start a run by hand."""

from frameloop.cli.common import ConfigOption, clear_errors, console, settings_of
from frameloop.core.errors import Conflict, FatalError
from frameloop.core.training import RunStatus, TrainingProgress


@clear_errors
def train(config: ConfigOption = None) -> None:
    """Run one training now, here and in the foreground, on the rows that pass at this moment.

    The same as the trigger does: it pins the table's version, trains with LLaMA-Factory in its own
    environment, and leaves a record in the table of runs. Ctrl-C ends it.
    """
    settings = settings_of(config)
    from consumers.training_run import TrainingRun, plan_run
    from frameloop.adapters.runs_table import load_runs

    running = [r for r in load_runs(settings.runs_uri) if r.status is RunStatus.RUNNING]
    if running:
        raise Conflict(f"{running[-1].run_id} is under way; wait for its end")
    spec = plan_run(settings)
    console.print(f"{spec.run_id}: {spec.rows} rows of table version {spec.table_version}")
    shown = TrainingProgress()

    def show(progress: TrainingProgress) -> None:
        nonlocal shown
        if progress != shown:
            shown = progress
            loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
            console.print(f"  step {progress.step}/{progress.steps}{loss}", highlight=False)

    record = TrainingRun(settings, spec).execute(show)
    if record.status is not RunStatus.SUCCEEDED:
        raise FatalError(f"{record.run_id} failed: {record.error} (see {record.output_dir})")
    console.print(
        f"[green]succeeded[/] in {record.seconds:.0f} s, loss {record.loss_final:.4f}: "
        f"{record.output_dir}/model",
        soft_wrap=True,
    )
