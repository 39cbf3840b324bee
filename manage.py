#!/usr/bin/env python3
"""Django's commands for this project, and `up`, which runs all of it in one terminal."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    # Not left to Python: PYTHONSAFEPATH takes the script's directory off the path.
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry != str(ROOT))]

    from config import surroundings

    sys.path[:] = surroundings.path_without_strangers(sys.path, os.environ)
    surroundings.tidy(os.environ)
    if sys.argv[1:2] == ["up"]:
        prepare_up()

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


def prepare_up() -> None:
    from config import generated, places, surroundings

    try:
        surroundings.for_up(os.environ, ROOT)
    except (generated.Unreadable, places.Trouble, OSError) as problem:
        sys.exit(f"manage.py up: {problem}")


if __name__ == "__main__":
    main()
