"""The commands dpc study ...: parse, one call, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpc.cli.options import MAX_SEED, LpipsWeights, numbers, words
from dpc.errors import ToolMissing

if TYPE_CHECKING:
    from dpc.study.plan import Plan
    from dpc.study.store import Store

__all__ = ["app"]

app = typer.Typer(help="Ask people which pictures look better.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of the study.")]
Source = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study, or a table of votes (CSV).")]
Database = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="postgresql://USER@HOST/NAME; default: votes.sqlite.")
]


@app.command()
def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder to make.")],
    images: Annotated[
        list[Path] | None, typer.Option("--images", metavar="D", help="Originals: a folder or a file.")
    ] = None,
    codecs: Annotated[str | None, typer.Option("--codecs", metavar="C,C", help="Codecs, as in dpc bench.")] = None,
    bpp: Annotated[str | None, typer.Option("--bpp", metavar="B,B", help="Rates.")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="A small one, on photographs that come with dpc; prepared at once.")
    ] = False,
) -> None:
    """Make the folder of a study with a study.toml for you to edit."""
    _libraries()
    import secrets

    from dpc.reading import validated
    from dpc.study import example as examples
    from dpc.study import plan as plans
    from dpc.study import prepare as preparing

    names, rates = words(codecs or ""), numbers("--bpp", bpp or "")
    votes, trials = 20, 30
    if example:
        names, left_out = (names, []) if names else examples.example_codecs()
        for line in left_out:
            typer.echo(line, err=True)
        images = images or examples.example_pictures()
        rates, votes, trials = rates or examples.BPP, examples.VOTES, examples.TRIALS
    where = {"images": tuple(str(path.resolve()) for path in images or ()), "codecs": tuple(names), "bpp": rates}
    draft = plans.Draft(
        seed=secrets.randbelow(2**31),
        sources=validated(Path("options"), where, plans.Sources),
        design=plans.Design(votes=votes, trials=trials, across_rates="none" if len(rates) == 1 else "neighbours"),
    )
    file = preparing.new(study, draft)
    if example:
        _prepare(study, 1)
    else:
        typer.echo(f"edit {file}, then: dpc study prepare {study}")


@app.command()
def prepare(
    study: Folder,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, max=64, help="Of the codecs.")] = 1,
) -> None:
    """Check study.toml, and code the pictures that it names. What was coded is kept for the next time."""
    _libraries()
    _prepare(study, threads)


@app.command()
def serve(
    study: Folder,
    host: Annotated[str, typer.Option("--host", metavar="H", help="0.0.0.0: for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535)] = 8000,
    database: Database = None,
) -> None:
    """Serve a study to people, until it is stopped (Ctrl-C)."""
    _libraries()
    from dpc.study import server, stimuli

    server.serve(stimuli.read(study), host, port, database, typer.echo)


@app.command()
def report(
    source: Source,
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for the page and the tables.")],
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="M,M", help="As in dpc bench; none: no metrics.")
    ] = None,
    resamples: Annotated[
        int, typer.Option("--resamples", metavar="N", min=100, max=10_000, help="For the intervals.")
    ] = 1000,
    lpips_weights: LpipsWeights = None,
    database: Database = None,
) -> None:
    """Analyse the votes: one HTML page, and a CSV of everything."""
    _libraries()
    from dpc.study import report as reports

    wanted = None if metrics is None else [m for m in words(metrics) if m != "none"]
    made = reports.report(
        source,
        out,
        metrics=wanted,
        resamples=resamples,
        weights=lpips_weights,
        url=database,
        say=lambda line: typer.echo(line, err=True),
    )
    for line in made.summary:
        typer.echo(line)
    typer.echo(f"{made.files['report.html']} and {len(made.files) - 1} files beside it")


@app.command()
def export(
    source: Source,
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for the tables.")],
    database: Database = None,
) -> None:
    """Write the votes as tables that choix (Python) and BradleyTerry2 (R) read."""
    _libraries()
    from dpc.study import export as exports

    for path in exports.export(source, out, database).values():
        typer.echo(path)


@app.command()
def person(
    study: Folder,
    who: Annotated[
        str | None, typer.Argument(metavar="WHO", help="A thank-you code, session or worker; default: list all.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete everything of this person.")] = False,
    database: Database = None,
) -> None:
    """List codes, or print (or delete) everything that is stored of one person."""
    _libraries()
    store = _store(study, database)
    if who is None:
        if delete:
            raise typer.BadParameter("--delete needs WHO")
        typer.echo("code\tsession\tphase\tvotes\trater_kind")
        for code, name, phase, count, kind in store.codes():
            typer.echo(f"{code if phase == 'done' else '-'}\t{name}\t{phase}\t{count}\t{kind}")
        return
    name = store.find(who)
    if delete:
        typer.echo(f"deleted {name} and {store.delete(name)} answers")
    else:
        typer.echo(json.dumps(store.export(name), indent=2, ensure_ascii=False))


@app.command()
def simulate(
    study: Folder,
    raters: Annotated[int, typer.Option("--raters", metavar="N", min=1, max=10_000, help="How many.")] = 20,
    spammers: Annotated[
        int, typer.Option("--spammers", metavar="N", min=0, max=10_000, help="More, who answer at random.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=MAX_SEED)] = 0,
    database: Database = None,
) -> None:
    """Rehearse a study with raters that are no people; everything of theirs is labelled as simulated."""
    _libraries()
    from dpc.study import simulate as simulation
    from dpc.study import stimuli

    made = stimuli.read(study)
    store = _store(study, database)
    count = simulation.fill(made, store, raters, spammers, seed)
    came = sum(kind == "simulated" for *_, kind in store.codes())
    answers = f"{count} simulated answers, those of training and checks among them"
    typer.echo(f"{answers}; {came} of {raters + spammers} raters until the study had enough")


def _prepare(study: Path, threads: int) -> None:
    from dpc.study import prepare as preparing

    made = preparing.prepare(study, threads, say=lambda line: typer.echo(line, err=True))
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    for line in _planned(made.plan, made.stimuli):
        typer.echo(line)
    typer.echo(f"serve it with: dpc study serve {study}")


def _planned(plan: Plan, stimuli: Any) -> list[str]:
    """The planned number of votes, and what they can show."""
    from dpc.study import plan as plans
    from dpc.study import power

    questions = plans.comparisons(plan, stimuli)
    total = len(questions) * plan.design.votes
    each = min(plan.design.trials, len(questions))
    per_pair = len(plan.pictures) * plan.design.votes
    alone, clustered = (power.smallest_preference(n) for n in (per_pair, per_pair / power.CLUSTERING))
    return [
        f"{_count(len(plan.pictures), 'picture')}, {_count(len(plan.methods), 'method')}, "
        f"{_count(len(plan.rates), 'rate')}: {_count(len(questions), 'pair')}",
        f"{total:,} votes are planned ({plan.design.votes} for each pair), from {-(-total // each):,} people with "
        f"{each} pairs each",
        f"smallest preference that {per_pair} votes on two methods can show (5 % error, 80 % power): {alone:.1%} if "
        "all "
        f"votes were independent, about {clustered:.1%} with votes that cluster by person and picture",
    ]


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _store(study: Path, database: str | None) -> Store:
    from dpc.study import stimuli, store
    from dpc.study.database import default_url

    made = stimuli.read(study, check=False)
    return store.Store(made.plan, made.stimuli, database or default_url(study), stimuli.secret(study))


def _libraries() -> None:
    """ToolMissing unless the extra is installed."""
    import importlib.util

    needed = {"fastapi": "fastapi", "uvicorn": "uvicorn", "sqlalchemy": "SQLAlchemy", "jinja2": "Jinja2"}
    needed |= {"choix": "choix", "scipy": "scipy", "itsdangerous": "itsdangerous", "matplotlib": "matplotlib"}
    for module, package in needed.items():
        if importlib.util.find_spec(module) is None:
            raise ToolMissing(f"a study needs the package {package}; pip install '.[study]'")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: more threads only get in each other's way
