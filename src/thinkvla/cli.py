"""The command line of thinkvla: every subcommand, imported when it is asked for.

Every option is a field of a configuration dataclass; ``thinkvla COMMAND --help`` shows them all with their defaults.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.table import Table

from thinkvla import __version__

if TYPE_CHECKING:
    from thinkvla.diagnose.common import DiagnoseOptions
    from thinkvla.evaluate.diagnosis import Diagnosis

USAGE = """usage: thinkvla COMMAND ...

  demo                 demonstrations, co-training, closed-loop evaluation and a report, in minutes
  data generate        write tabletop demonstrations and questions
  data generate --benchmark libero_object
                       the same in LIBERO: libero_object, libero_spatial, libero_goal, libero_10
  data validate PATH   look for anything wrong in a data set
  data refresh PATH    compute the statistics of a data set again
  train RECIPE         co-train a policy; recipes are listed by 'thinkvla train'
  eval CHECKPOINT      success rate in closed loop, with intervals and videos; --benchmark NAME names where
  eval MODEL --qa      how well a policy or a plain Qwen3-VL answers held-out 2D and 3D questions
  bench CHECKPOINT     how long an action chunk takes: preprocessing, network and transport apart
  grid CHECKPOINT      success rates over suites and perturbations, resumable, with a table
  run POLICY           drive a robot, with watchdog, emergency stop and recording; or the tabletop in real time
  diagnose attention | geometry | gap CHECKPOINT ...
                       what policies look at, their 3D features, how alike the anchor is under both prompts
  serve CHECKPOINT     a policy for robots, over openpi's and vla-eval's protocols, behind guards
  export RUN FOLDER    a policy as a Hugging Face folder with a model card
  report               one self-contained HTML page from results
  results FOLDER       the table of all benchmarks: paper, best public policy, ours, verdicts
  results keep POLICY EVALUATIONS
                       a small file of a policy's evaluations for that table
  env install NAME     make a simulator's isolated environment; 'thinkvla env' lists them
  env check NAME       whether it works: versions, rendering, one rendered frame
  doctor               what is installed, and whether rendering works

thinkvla COMMAND --help lists the options of a command."""


def main() -> None:
    """Entry point: run one command; a user's mistake is one line on standard error and exit code 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    if arguments[0] == "--version":
        print(f"thinkvla {__version__}")
        return
    try:
        sys.exit(run(arguments))
    except ModuleNotFoundError as error:
        _fail(
            f"'{error.name}' is not installed; install the extras of this command: pip install "
            "'thinkvla[train,eval,serve]'"
        )
    except (ValueError, RuntimeError) as error:
        if not _raised_here(error):  # a fault, not a user's mistake: show where it happened
            raise
        _fail(str(error))


def run(arguments: Sequence[str]) -> int:
    """Run a command line without the program's name; returns the exit code, raises the command's errors."""
    commands: dict[tuple[str, ...], Callable[[list[str]], int]] = {
        ("demo",): _demo,
        ("data", "generate"): _generate,
        ("data", "validate"): _validate,
        ("data", "refresh"): _refresh,
        ("train",): _train,
        ("eval",): _evaluate,
        ("bench",): _bench,
        ("grid",): _grid,
        ("run",): _run_robot,
        ("diagnose", "attention"): _attention,
        ("diagnose", "geometry"): _geometry,
        ("diagnose", "gap"): _gap,
        ("serve",): _serve,
        ("export",): _export,
        ("report",): _report,
        ("results", "keep"): _keep_results,
        ("results",): _results,
        ("env", "install"): _install_environment,
        ("env", "check"): _check_environment,
        ("env",): _list_environments,
        ("doctor",): _doctor,
    }
    for words, command in commands.items():
        if tuple(arguments[: len(words)]) == words:
            return command(list(arguments[len(words) :]))
    raise ValueError(f"no command '{' '.join(arguments[:2])}'; there are {', '.join(' '.join(c) for c in commands)}")


def _demo(arguments: list[str]) -> int:
    from thinkvla.demo import DemoOptions, demo

    print(demo(tyro.cli(DemoOptions, args=arguments, prog="thinkvla demo")))
    return 0


def _generate(arguments: list[str]) -> int:
    if any(argument.split("=")[0] == "--benchmark" for argument in arguments):
        from thinkvla.simulators.libero.generate import GenerateLiberoOptions, generate_libero

        generate_libero(tyro.cli(GenerateLiberoOptions, args=arguments, prog="thinkvla data generate"))
        return 0
    from thinkvla.data.generate import GenerateOptions, generate

    generate(tyro.cli(GenerateOptions, args=arguments, prog="thinkvla data generate"))
    return 0


def _validate(arguments: list[str]) -> int:
    from thinkvla.data.embodiments import find_spec
    from thinkvla.data.validate import validate

    def chosen(
        path: tyro.conf.Positional[str], embodiment: str | None = None, images: tuple[Path, ...] = ()
    ) -> tuple[str, str | None, tuple[Path, ...]]:
        """Look for anything wrong in a data set: missing frames, NaN, shapes, broken videos, stale statistics.

        Args:
            path: a LeRobot folder, a question set (folder or file), either as hf://owner/name, or a whole folder of
                'thinkvla data generate'.
            embodiment: ready-made specification or JSON file, for episodes without meta/embodiment.json.
            images: folders in which images of questions are looked for that are not beside the rows.
        """
        return path, embodiment, images

    path, embodiment, images = tyro.cli(chosen, args=arguments, prog="thinkvla data validate")
    report = validate(path, None if embodiment is None else find_spec(embodiment), images)
    print(report)
    return report.exit_code


def _refresh(arguments: list[str]) -> int:
    from thinkvla.data.embodiments import find_spec
    from thinkvla.data.refresh import refresh_statistics

    def refresh(path: tyro.conf.Positional[Path], embodiment: str | None = None) -> None:
        """Compute the statistics of a data set again.

        Args:
            path: LeRobot folder.
            embodiment: ready-made specification or JSON file, for a data set without meta/embodiment.json.
        """
        refresh_statistics(path, None if embodiment is None else find_spec(embodiment))

    tyro.cli(refresh, args=arguments, prog="thinkvla data refresh")
    return 0


def _train(arguments: list[str]) -> int:
    from thinkvla.recipes.registry import RECIPES, recipe
    from thinkvla.train.config import TrainConfig
    from thinkvla.train.distribution import leave
    from thinkvla.train.loop import train

    if not arguments or arguments[0].startswith("-"):
        print("usage: thinkvla train RECIPE [--resume | --dry-run] [options]\n\nrecipes: " + ", ".join(RECIPES))
        return 0
    switches = {"--resume", "--dry-run"} & set(arguments)
    if len(switches) > 1:
        raise ValueError("--resume goes on with a run and --dry-run begins none; give one of them")
    config = tyro.cli(
        TrainConfig,
        default=recipe(arguments[0]),
        args=[argument for argument in arguments[1:] if argument not in switches],
        prog=f"thinkvla train {arguments[0]} [--resume | --dry-run]",
    )
    if "--dry-run" in switches:
        from thinkvla.train.plan import plan_run, show_plan

        show_plan(plan_run(config), Console())
        return 0
    policy = train(config, resume="--resume" in switches, command=shlex.join(["thinkvla", "train", *arguments]))
    if leave():
        print(policy)
    return 0


def _evaluate(arguments: list[str]) -> int:
    from thinkvla.evaluate.options import EvaluateOptions
    from thinkvla.evaluate.run import evaluate

    if "--qa" in arguments:
        return _evaluate_answers([argument for argument in arguments if argument != "--qa"])
    options = tyro.cli(EvaluateOptions, args=arguments, prog="thinkvla eval")
    result = evaluate(options)
    total = result.total
    print(f"{total.successes} of {total.episodes} episodes succeeded; results in {options.output}")
    return 0


def _evaluate_answers(arguments: list[str]) -> int:
    from thinkvla.evaluate.options import EvaluateOptions
    from thinkvla.evaluate.qa import QAOptions, evaluate_qa
    from thinkvla.evaluate.qa_table import qa_table
    from thinkvla.evaluate.run import EXPERT

    known = {field.name for field in fields(QAOptions)}
    closed_loop = {field.name for field in fields(EvaluateOptions)} - known
    for argument in arguments:
        name = argument.removeprefix("--").split("=")[0].replace("-", "_")
        if argument.startswith("--") and name in closed_loop:
            raise ValueError(
                f"{argument} is for evaluation in closed loop and does not go with --qa, which has "
                f"{', '.join('--' + option for option in sorted(known - {'checkpoint'}))}"
            )
    options = tyro.cli(QAOptions, args=arguments, prog="thinkvla eval --qa")
    if str(options.checkpoint) == EXPERT:
        raise ValueError("the scripted expert answers no questions; give a checkpoint or a plain Qwen3-VL with --qa")
    result = evaluate_qa(options)
    Console(width=max(Console().width, 140)).print(qa_table(result))
    print(f"every answer is in {options.output}")
    return 0


def _bench(arguments: list[str]) -> int:
    from thinkvla.bench import BenchOptions, bench, bench_table

    Console().print(bench_table(bench(tyro.cli(BenchOptions, args=arguments, prog="thinkvla bench"))))
    return 0


def _grid(arguments: list[str]) -> int:
    from thinkvla.evaluate.grid import GridOptions, grid_table, run_grid

    options = tyro.cli(GridOptions, args=arguments, prog="thinkvla grid")
    Console().print(grid_table(run_grid(options)))
    return 0


def _run_robot(arguments: list[str]) -> int:
    from thinkvla.robot.run import WENT_WELL, RunOptions, run

    options = tyro.cli(RunOptions, args=arguments, prog="thinkvla run")
    result = run(options)
    print(f"{result.ended} after {len(result.actions)} steps: {result.reason}; recorded in {options.output}")
    return 0 if result.ended in WENT_WELL else 1


def _attention(arguments: list[str]) -> int:
    from thinkvla.diagnose.attention import diagnose_attention

    return _diagnose("attention", diagnose_attention, arguments)


def _geometry(arguments: list[str]) -> int:
    from thinkvla.diagnose.geometry import diagnose_geometry

    return _diagnose("geometry", diagnose_geometry, arguments)


def _gap(arguments: list[str]) -> int:
    from thinkvla.diagnose.reasoning_gap import diagnose_gap

    return _diagnose("gap", diagnose_gap, arguments)


def _diagnose(kind: str, diagnose: Callable[[DiagnoseOptions], Diagnosis], arguments: list[str]) -> int:
    from thinkvla.diagnose.common import DiagnoseOptions, numbers_table

    options = tyro.cli(DiagnoseOptions, args=arguments, prog=f"thinkvla diagnose {kind}")
    Console().print(numbers_table(diagnose(options)))
    print(f"pictures and numbers are in {options.output}")
    return 0


def _serve(arguments: list[str]) -> int:
    from thinkvla.serve.options import ServeOptions
    from thinkvla.serve.start import serve_policy

    serve_policy(tyro.cli(ServeOptions, args=arguments, prog="thinkvla serve"))
    return 0


def _export(arguments: list[str]) -> int:
    from thinkvla.export import ExportOptions, export

    print(export(tyro.cli(ExportOptions, args=arguments, prog="thinkvla export")))
    return 0


def _report(arguments: list[str]) -> int:
    from thinkvla.evaluate.report import write_report

    def write(
        evaluations: tyro.conf.Positional[tuple[Path, ...]],
        training: tuple[Path, ...] = (),
        dataset: Path | None = None,
        output: Path = Path("report.html"),
        title: str = "thinkvla",
    ) -> Path:
        """One page from results, training runs and a data set.

        Args:
            evaluations: folders of 'thinkvla eval', 'thinkvla grid' and 'thinkvla diagnose', or a folder of such.
            training: run folders of 'thinkvla train', for their curves and configurations.
            dataset: folder of 'thinkvla data generate', for samples.
            output: the page; an older one is replaced.
            title: heading of the page.
        """
        write_report(output, evaluations=evaluations, training=training, dataset=dataset, title=title)
        return output

    print(tyro.cli(write, args=arguments, prog="thinkvla report"))
    return 0


def _keep_results(arguments: list[str]) -> int:
    from thinkvla.results.keep import KeepOptions, keep

    print(keep(tyro.cli(KeepOptions, args=arguments, prog="thinkvla results keep")))
    return 0


def _results(arguments: list[str]) -> int:
    from thinkvla.results.page import write_page

    def write(results: tyro.conf.Positional[Path], output: Path = Path("docs/results.md")) -> Path:
        """The table of all benchmarks: the paper, the best public policy, ours, and verdicts by a rule.

        Args:
            results: folder of the files that 'thinkvla results keep' writes.
            output: the page, Markdown; an older one is replaced.
        """
        return write_page(results, output)

    print(tyro.cli(write, args=arguments, prog="thinkvla results"))
    return 0


def _list_environments(arguments: list[str]) -> int:
    from thinkvla.environments.process import problem
    from thinkvla.environments.table import ENVIRONMENTS

    tyro.cli(lambda: None, args=arguments, prog="thinkvla env")
    table = Table("environment", "for", "download", "disk", "state")
    for name, one in ENVIRONMENTS.items():
        state = problem(one) or f"complete: {one.folder}"
        table.add_row(name, one.what, f"{one.download:g} GB", f"{one.disk:g} GB", state)
    Console().print(table)
    return 0


def _install_environment(arguments: list[str]) -> int:
    from thinkvla.environments.install import install

    def chosen(
        name: tyro.conf.Positional[str],
        python: Path | None = None,
        repository: Path | None = None,
        assets: Path | None = None,
    ) -> tuple[str, Path | None, Path | None, Path | None]:
        """Make a simulator's isolated environment from its lock file; what is complete is left alone.

        Args:
            name: of the environment; 'thinkvla env' lists them.
            python: interpreter to make it of, where its packages need another version than thinkvla's own.
            repository: your copy of the benchmark's repository, for an environment that needs one (libero_plus).
            assets: folder to which you unpacked the benchmark's archive of assets.
        """
        return name, python, repository, assets

    print(install(*tyro.cli(chosen, args=arguments, prog="thinkvla env install")))
    return 0


def _check_environment(arguments: list[str]) -> int:
    from thinkvla.environments.check import check

    def chosen(name: tyro.conf.Positional[str]) -> str:
        """Whether an environment works: its versions, its rendering backend, one rendered frame.

        Args:
            name: of the environment.
        """
        return name

    report = check(tyro.cli(chosen, args=arguments, prog="thinkvla env check"))
    Console().print(report.table())
    return 1 if report.problems else 0


def _doctor(arguments: list[str]) -> int:
    from thinkvla.doctor import doctor

    tyro.cli(lambda: None, args=arguments, prog="thinkvla doctor")
    return doctor()


def _raised_here(error: BaseException) -> bool:
    """Whether one of our own checks raised the error, rather than a library deep down."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parent)


def _fail(message: str) -> None:
    Console(stderr=True).print(f"[bold red]error[/] {message}", highlight=False, soft_wrap=True)
    sys.exit(2)
