"""Things that have a name: entries of a registry, and classes of the user's own.

A registry is data, name -> `package.module:Class`, imported on use. A class of the user's own is
`package.module:Class` or `./file.py:Class`, as the user typed it. A name that was found in a file
(a checkpoint, a record) is looked up in the registry alone, unless the user typed the same text.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

Registry = Mapping[str, str]


def named(text: str, registry: Registry, what: str) -> Any:
    """What a name stands for that the user typed.

    Args:
        text: an entry of the registry, `package.module:Class` or `./file.py:Class`.
        registry: of this kind of thing.
        what: the option and the kind, for the error message: `--encoder`, for example.

    Raises:
        ValueError: no such entry, module, file or class.
    """
    if ":" in text:
        return loaded(text, what)
    if text not in registry:
        raise ValueError(
            f"{what} {text}: expected one of {', '.join(registry)}, or a class of your own as "
            "package.module:Class or ./file.py:Class"
        )
    return _ours(registry[text])


def stored(text: str, registry: Registry, typed: Collection[str], where: str) -> Any:
    """What a name stands for that was found in a file, which must not run what it likes.

    Args:
        text: the name.
        registry: of this kind of thing.
        typed: what the user typed in this command and so allows.
        where: the file, for the error message.

    Raises:
        ValueError: it is not in the registry and the user did not type it.
    """
    if not isinstance(text, str):
        raise ValueError(f"{where}: names a {type(text).__name__}; expected text: it is damaged")
    if text in registry:
        return _ours(registry[text])
    if text in ([typed] if isinstance(typed, str) else typed):
        return loaded(text, where)
    raise ValueError(
        f"{where}: names {text[:200]!r}, which is none of ours ({', '.join(registry)}) and is not "
        f"run; if it is yours, add --allow {text[:200]}, in Python allow=[{text[:200]!r}]; where "
        "its file lies elsewhere now, go to the folder that it was named from"
    )


def _ours(text: str) -> Any:
    """The object of an entry of a registry: nothing of the working folder is looked at."""
    place, _, name = text.partition(":")
    return getattr(importlib.import_module(place), name)


def loaded(text: str, what: str) -> Any:
    """The object of `package.module:Class` or `./file.py:Class`.

    Modules of the working folder are found first: there stands what the user means.

    Raises:
        ValueError: there is none; says which part is missing.
    """
    place, _, name = text.rpartition(":")
    try:
        found: Any = _from_file(Path(place)) if place.endswith(".py") else _module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # the user's own code can raise anything
        kind = (
            "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        )
        raise ValueError(
            f"{what} {text}: {kind}{error}; give package.module:Class, a module that Python finds "
            "from this folder, or ./file.py:Class, and mend what it says of the file"
        ) from error
    return found


@contextmanager
def _found_first(folder: Path) -> Iterator[None]:
    """Modules of a folder are found first within it, and last behind it: for later imports."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def _module(name: str) -> ModuleType:
    with _found_first(Path.cwd()):
        return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """The module of a file, made once in a process; its name tells files of one name apart."""
    whole = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _found_first(whole.parent):  # it may import its neighbours
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def config_of(text: str, registry: Registry, what: str) -> type[Any]:
    """The `Config` of a name that the user typed, without running what stands around it.

    Of our own modules only those statements are run that the `Config` in the class needs: modules
    of models load torch, for seconds, and `--help` wants the options alone.

    Raises:
        ValueError: as `named`.
    """
    if text not in registry:
        config: type[Any] = named(text, registry, what).Config
        return config
    place, _, name = registry[text].partition(":")
    spec = importlib.util.find_spec(place)
    assert spec is not None and spec.origin is not None
    # A module of its own, with a file: what reads the options' docstrings looks there for source.
    part = f"{place}:{name}.Config"
    if part not in sys.modules:
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        (owner,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
        (node,) = [n for n in owner.body if isinstance(n, ast.ClassDef) and n.name == "Config"]
        code = compile(ast.Module([*_needed(tree.body, node), node], []), spec.origin, "exec")
        module = ModuleType(part)
        module.__file__ = spec.origin
        sys.modules[part] = module
        exec(code, module.__dict__)
        module.Config.__qualname__ = f"{name}.Config"
    found: type[Any] = sys.modules[part].Config
    return found


def _needed(statements: list[ast.stmt], node: ast.stmt) -> list[ast.stmt]:
    """The statements of a module, in their order, that bind a name which the node uses."""
    wanted = _uses(node)
    kept: list[ast.stmt] = []
    for statement in reversed(statements):
        if _binds(statement) & wanted:
            kept.append(statement)
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                wanted |= _uses(statement)
    return kept[::-1]


def _uses(node: ast.stmt) -> set[str]:
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name)}


def _binds(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).partition(".")[0] for alias in names}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return {name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()
