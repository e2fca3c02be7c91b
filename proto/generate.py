"""Generate Python from the contracts into proto/gen; `--check` fails when the committed code differs."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
GENERATED = ROOT / "gen"


def generate(target: Path) -> None:
    """Write messages, stubs and their types for every crm/*.proto below `target`."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "crm").rglob("*.proto"))
    target.mkdir(parents=True, exist_ok=True)
    bin_dir = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{ROOT}",
            f"--plugin=protoc-gen-mypy={bin_dir / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *sources,
        ],
        check=True,
        cwd=ROOT,
    )
    for folder in [target / "crm", *(path for path in (target / "crm").rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
        (folder / "py.typed").touch()


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every generated file's content by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def main() -> int:
    if "--check" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            fresh, committed = files_below(Path(folder)), files_below(GENERATED)
        stale = sorted(
            name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
        )
        if stale:
            print("proto/gen differs from the contracts; run `make proto`:", *stale, sep="\n  ")
        return 1 if stale else 0
    # Made beside it and then put in its place: whoever imports it meanwhile finds the old code or the new.
    new, old = GENERATED.with_name("gen.new"), GENERATED.with_name("gen.old")
    shutil.rmtree(new, ignore_errors=True)
    generate(new)
    if GENERATED.exists():
        GENERATED.rename(old)
    new.rename(GENERATED)
    shutil.rmtree(old, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
