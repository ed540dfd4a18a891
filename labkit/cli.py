"""The command line: finds the verb in `labkit.commands` and reports errors, Ctrl-C and SIGTERM in one line.

Exit codes: 0 done; 1 a run or an image failed, a result differs, or the data leaks (each verb says which); 2 wrong use
or an error; 3 the report is there but its PDF is not; 130 Ctrl-C; 141 the reader of its lines has gone; 143 SIGTERM.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "run": "train the runs of a study that are not up to date",
    "report": "train the runs, then write the report: HTML and PDF",
    "judge": "write the report of predictions that were made elsewhere",
    "studies": "list the studies in params/",
    "runs": "list the runs that there are, also those kept from earlier parameters, data or code",
    "clean": "delete kept runs, after a question; only files that labkit wrote",
    "new": "write a commented study file for a folder of images",
    "check": "audit a folder of images: leaks, duplicates, damaged files, baselines",
    "prepare": "crop raw fundus photographs to squares around the eyeball",
    "predict": "classify new images with a finished run; not a medical device",
    "external": "test a finished run on other images: another camera, another clinic",
    "test": "load the weights of a study's finished runs, predict again and compare",
    "verify": "re-run a finished run in a scratch folder and compare its files byte for byte",
}
RESUMABLE = {"run", "report", "prepare"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process) and return its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(argv[0] if argv else None).parse_args(argv)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        from labkit.runs.folder import places_of_caller
        from labkit.studies.file import name_of

        places_of_caller()
        if arguments.verb != "new" and getattr(arguments, "study", None):
            arguments.study = name_of(arguments.study)  # which may be given by the path of its file
        code = arguments.main(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our lines has gone, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return 128 + signal.SIGPIPE
    except (ValueError, OSError, RuntimeError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        cure = "; run the same command again to continue" if arguments.verb in RESUMABLE else ""
        print(f"\nlabkit: stopped{cure}", file=sys.stderr)
        return 128 + (stopped.args or (signal.SIGINT,))[0]
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> None:
    """SIGTERM: a scheduler's time limit, or `kill`."""
    raise KeyboardInterrupt(number)


def parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of all verbs, with the arguments of the chosen one: only its module is imported, some take seconds."""
    what = "Reproducible lab reports for image classifiers in medicine."
    whole = argparse.ArgumentParser(prog="labkit", description=what)
    verbs = whole.add_subparsers(dest="verb", required=True, metavar="verb")
    for name, words in VERBS.items():
        raw = argparse.RawDescriptionHelpFormatter
        verb = verbs.add_parser(name, help=words, description=words, formatter_class=raw)
        if name == chosen:
            module = import_module(f"labkit.commands.{name}")
            module.add_arguments(verb)
            verb.epilog = f"example:\n  {module.EXAMPLE}"
            verb.set_defaults(main=module.main)
    return whole


if __name__ == "__main__":
    sys.exit(main())
