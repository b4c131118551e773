"""The commands dpc study ...: parse, one call, print. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpc.cli.options import LpipsWeights, folders_of, numbers, words
from dpc.errors import OptionError, ToolMissing

if TYPE_CHECKING:
    from dpc.study.plan import Plan
    from dpc.study.store import Store

__all__ = ["app"]

app = typer.Typer(help="Ask people which pictures look better.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of the study.")]
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
    folder: Annotated[
        list[str] | None, typer.Option("--folder", metavar="NAME=D", help="Decoded pictures of another codec.")
    ] = None,
    bpp: Annotated[
        str | None, typer.Option("--bpp", metavar="B,B", help="Rates; default: those of the first folder.")
    ] = None,
    example: Annotated[bool, typer.Option("--example", help="DPC, BPG or HEIC, AVIF and JPEG 2000.")] = False,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="PERCENT", help="By which sizes of a pair may differ.")
    ] = 3.0,
    unknown_sizes: Annotated[
        bool, typer.Option("--unknown-sizes", help="Take pictures whose compressed size is not known.")
    ] = False,
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="WxH", help="Show the middle only, so that it fits screens.")
    ] = None,
    pairing: Annotated[str, typer.Option("--pairing", metavar="P", help="full, random or adaptive.")] = "full",
    across_rates: Annotated[str | None, typer.Option("--across-rates", metavar="A", help="neighbours or none.")] = None,
    votes: Annotated[int | None, typer.Option("--votes", metavar="N", help="For each pair of pictures.")] = None,
    trials: Annotated[int | None, typer.Option("--trials", metavar="N", help="Pairs for one person.")] = None,
    not_sure: Annotated[bool, typer.Option("--not-sure/--forced", help="Whether there is a third answer.")] = True,
    original: Annotated[str, typer.Option("--original", metavar="O", help="hold or beside.")] = "hold",
    screen: Annotated[str, typer.Option("--screen", metavar="S", help="any, or fit: whole pictures only.")] = "any",
    colour: Annotated[str, typer.Option("--colour", metavar="C", help="Colour plates: ask, require or off.")] = "ask",
    title: Annotated[str | None, typer.Option("--title", metavar="T", help="Of the page.")] = None,
    question: Annotated[str | None, typer.Option("--question", metavar="Q", help="Asked in every trial.")] = None,
    organiser: Annotated[str, typer.Option("--organiser", metavar="O", help="Who runs the study.")] = "",
    contact: Annotated[str, typer.Option("--contact", metavar="C", help="An address for questions.")] = "",
    platform: Annotated[str, typer.Option("--platform", metavar="P", help="none, prolific or mturk.")] = "none",
    completion_link: Annotated[
        str, typer.Option("--completion-link", metavar="URL", help="Shown at the end; {code} is the person's code.")
    ] = "",
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of everything random; default: new.")] = None,
    threads: Annotated[int, typer.Option("--threads", metavar="N", min=1, help="Of the codecs.")] = 1,
    serve: Annotated[bool, typer.Option("--serve", help="Serve it on this machine when it is made.")] = False,
) -> None:
    """Make a study out of pictures and codecs, or out of folders of decoded pictures."""
    _libraries()
    from dpc.study import plan as plans
    from dpc.study import stimuli

    names = words(codecs or "")
    rates = numbers("--bpp", bpp or "")
    pictures = list(images or [])
    defaults: dict[str, Any] = {"votes": 20, "trials": 30}
    if example:
        if not names:
            names, left_out = stimuli.example_codecs()
            for line in left_out:
                typer.echo(line, err=True)
        pictures = pictures or stimuli.example_pictures()
        rates = rates or stimuli.EXAMPLE["bpp"]  # type: ignore[assignment]
        defaults |= {key: stimuli.EXAMPLE[key] for key in ("votes", "trials")}
        title = title or "Which picture is closer to the original?"
    design = plans.Design(
        pairing=pairing,
        not_sure=not_sure,
        original=original,
        across_rates=across_rates or ("neighbours" if len(rates) > 1 else "none"),
        votes=defaults["votes"] if votes is None else votes,
        trials=defaults["trials"] if trials is None else trials,
        tolerance=tolerance / 100,
    )
    made = stimuli.new(
        study,
        pictures,
        codecs=names,
        folders=[(name, Path(place)) for name, place in folders_of(folder or []).items()],
        bpp=rates,
        crop=_crop(crop),
        title=title or "Which picture is closer to the original?",
        question=question,
        design=design,
        screening=plans.Screening(screen=screen, colour=colour),
        people=plans.People(organiser=organiser, contact=contact, platform=platform, completion_link=completion_link),
        seed=seed,
        unknown_sizes=unknown_sizes,
        threads=threads,
        command=" ".join(["dpc", *sys.argv[1:]]),
        say=lambda line: typer.echo(line, err=True),
    )
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    for line in _planned(made.plan, made.stimuli):
        typer.echo(line)
    if serve:
        _serve(study, "127.0.0.1", 8000, None)
    else:
        typer.echo(f"serve it with: dpc study serve {study}")


@app.command()
def serve(
    study: Folder,
    host: Annotated[str, typer.Option("--host", metavar="H", help="0.0.0.0: for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535)] = 8000,
    database: Database = None,
) -> None:
    """Serve a study to people, until it is stopped (Ctrl-C)."""
    _libraries()
    _serve(study, host, port, database)


@app.command()
def report(
    source: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study, or a table of votes (CSV).")],
    out: Annotated[Path, typer.Option("--out", metavar="D", help="Folder for the page and the tables.")],
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="M,M", help="As in dpc bench; none: no metrics.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", metavar="N", min=100, help="For the intervals.")] = 1000,
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
        typer.echo("code\tsession\tphase\tvotes\tsimulated")
        for code, name, phase, count, simulated in store.codes():
            typer.echo(f"{code if phase == 'done' else '-'}\t{name}\t{phase}\t{count}\t{'yes' if simulated else 'no'}")
        return
    name = store.find(who)
    if delete:
        typer.echo(f"deleted {name} and {store.delete(name)} answers")
    else:
        typer.echo(json.dumps(store.export(name), indent=2, ensure_ascii=False))


@app.command()
def simulate(
    study: Folder,
    raters: Annotated[int, typer.Option("--raters", metavar="N", min=1, help="How many take part.")] = 20,
    spammers: Annotated[int, typer.Option("--spammers", metavar="N", min=0, help="More, who answer at random.")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N")] = 0,
    database: Database = None,
) -> None:
    """Rehearse a study with raters that are no people; everything of theirs is labelled as simulated."""
    _libraries()
    from dpc.study import simulate as simulation
    from dpc.study import stimuli

    made = stimuli.read(study)
    store = _store(study, database)
    count = simulation.fill(made, store, raters, spammers, seed)
    came = sum(simulated for *_, simulated in store.codes())
    answers = f"{count} simulated answers, those of training and checks among them"
    typer.echo(f"{answers}; {came} of {raters + spammers} raters until the study had enough")


def _planned(plan: Plan, stimuli: Any) -> list[str]:
    """The planned number of votes, and what they can show."""
    from dpc.study import plan as plans

    questions = plans.comparisons(plan, stimuli)
    total = len(questions) * plan.design.votes
    each = min(plan.design.trials, len(questions))
    per_pair = len(plan.pictures) * plan.design.votes
    alone, clustered = (plans.smallest_preference(n) for n in (per_pair, per_pair / plans.CLUSTERING))
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


def _serve(study: Path, host: str, port: int, database: str | None) -> None:
    import socket

    import uvicorn

    from dpc.study import app as application
    from dpc.study import stimuli
    from dpc.study.store import rehearsal

    made = stimuli.read(study)
    web, key = application.create(made, database), rehearsal(stimuli.secret(study))
    try:
        listener = socket.create_server((host, port), backlog=1024)
    except OSError as error:
        raise OptionError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another --port") from error
    with listener:
        place = f"http://{'localhost' if host == '127.0.0.1' else host}:{listener.getsockname()[1]}/"
        typer.echo(f"{made.plan.title}: {place}  (Ctrl-C stops)")
        typer.echo(f"to rehearse it, with answers labelled as simulated: {place}?simulated={key}")
        config = uvicorn.Config(web, log_level="warning", server_header=False, access_log=False, timeout_keep_alive=30)
        uvicorn.Server(config).run(sockets=[listener])
    web.state.store.close()


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


def _crop(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip(), re.IGNORECASE)
    if match is None or not int(match[1]) * int(match[2]):
        raise OptionError(f"--crop {text}: write it as 640x480")
    return int(match[1]), int(match[2])
