"""How long qubes.GetAppmenus takes for 10,000 applications, beside ``grep`` reading the same files.

    PYTHONPATH=_utils:. python benchmarks/appmenus.py [--files 10000] [--rounds 5]

The two take turns; the medians are compared. Exit status 1 if the target is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import vminterface
from benchmarks.rows import Row, report
from vminterface.vm.handlers.runtime.entry import entry

#: Seconds for 10,000 files, start of the interpreter included.
TARGET = 1.0
_LANGUAGES = ("cs", "de", "es", "fr", "it", "ja", "pl", "pt_BR", "ru", "zh_CN")


def application(number: int) -> str:
    """Return a desktop file of usual size, with names in some languages."""
    names = "".join(f"Name[{language}]=Application {number}\n" for language in _LANGUAGES)
    return (
        f"[Desktop Entry]\nType=Application\nName=Application {number}\n{names}Comment=Does something\n"
        f"Exec=app{number} %U\nIcon=app{number}\nCategories=Network;WebBrowser;\n\n"
        f"[Desktop Action new]\nName=New\nExec=app{number} --new\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of qubes.GetAppmenus.")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    library = str(Path(vminterface.__file__).parents[1])
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": "/home/user", "QREXEC_REMOTE_DOMAIN": "dom0"}
    with tempfile.TemporaryDirectory() as folder:
        applications = Path(folder, "usr/share/applications")
        applications.mkdir(parents=True)
        for number in range(arguments.files):
            (applications / f"org.app{number}.desktop").write_text(application(number))
        program = Path(folder, "qubes.GetAppmenus")
        program.write_text(entry("qubes.GetAppmenus", library, sys.executable, folder))
        program.chmod(0o755)
        commands = {"qubes.GetAppmenus": [str(program)], "grep -r": ["grep", "-r", "^Name=", str(applications)]}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds + 1):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
                # The first round fills caches.
                if number:
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in medians.items():
        print(f"  {name:20} {each:6.3f} s for {arguments.files} applications")
    print(f"  qubes.GetAppmenus / grep -r: {medians['qubes.GetAppmenus'] / medians['grep -r']:.2f}")
    seconds_of_10000 = medians["qubes.GetAppmenus"] * 10_000 / arguments.files
    return report([Row("qubes.GetAppmenus of 10,000 applications", seconds_of_10000, TARGET, "s")])


if __name__ == "__main__":
    sys.exit(main())
