"""Checks values against types and finds every mistake, not only the first.

Rules of this file: plain values (as TOML has them) and `msgspec` types in; typed values or one `ConfigurationError` out.
Tables are walked here, so that each key gets its own message; single values are judged by `msgspec.convert`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from rataccess.config import describe
from rataccess.errors import ConfigurationError

if TYPE_CHECKING:
    from rataccess.config.model import LinkSettings

Path = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where values came from: a file, its lines, and the environment variables that override some."""

    source: str | None = None
    lines: Mapping[Path, int] = field(default_factory=dict)
    variables: Mapping[Path, str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """`file:line: ` or `RATACCESS_X: ` of the key, or of the nearest table around it; ends with a colon."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.variables:  # nothing of what the file says below it is left
                return f"environment variable {self.variables[path[:length]]}: "
        for length in range(len(path), 0, -1):
            near = path[:length]
            if near in self.lines:
                return f"{self.source}:{self.lines[near]}: "
            for found, variable in self.variables.items():
                if found[:length] == near:
                    return f"environment variable {variable}: "
        return f"{self.source}: " if self.source else ""


class Bag(dict[str, Any]):
    """Options of a driver or transport, which are checked later, and where they came from."""

    origin: Origin = Origin()
    path: Path = ()

    def __repr__(self) -> str:
        return repr({key: "(not shown)" if describe.is_secret(key) else value for key, value in self.items()})


@dataclass(frozen=True)
class _Mistake:
    path: Path
    text: str


def check(value: Any, wanted: Any, origin: Origin, path: Path = ()) -> Any:
    """`value` as `wanted`, a struct or dataclass; raises one `ConfigurationError` that lists every mistake, a line each."""
    try:
        mistakes = list(_walk(value, wanted, path))
        if not mistakes:
            return msgspec.convert(value, wanted)
    except (RecursionError, OverflowError, ValueError) as error:
        mistakes = [_Mistake(path, f"cannot be used ({type(error).__name__})")]
    raise refusal(f"{origin.of(one.path)}{dotted(one.path)}{': ' if one.path else ''}{one.text}" for one in mistakes)


def dotted(path: Path) -> str:
    """The key as people write it: `solution.receivers[0].url`."""
    return ".".join(path).replace(".[", "[")


_HEADING = " mistakes in the configuration:"


def refusal(mistakes: Iterable[str]) -> ConfigurationError:
    """The one error for all mistakes; headings of errors that held several are left out."""
    found = [each for each in mistakes if not each.endswith(_HEADING)]
    if len(found) == 1:
        return ConfigurationError(found[0])
    return ConfigurationError("\n".join([f"{len(found)}{_HEADING}", *found]))


def check_options(bag: Mapping[str, Any], options_type: type[Any] | None, where: str) -> Any:
    """A driver's or transport's own options as its `options_type`; `None` where it has none.

    `where` is the key of the bag, such as `links.lte.options`.  Raises one `ConfigurationError` that lists every mistake,
    with file and line where the bag comes from `parse` or `load`.
    """
    origin, path = (bag.origin, bag.path) if isinstance(bag, Bag) else (Origin(), tuple(where.split(".")))
    if options_type is not None:
        misplaced = [name for name in bag if describe.is_secret(name) and name not in fields(options_type)]
        if misplaced:
            raise _with_secrets(bag, misplaced, options_type, origin, path)
        return check(dict(bag), options_type, origin, path)
    if bag:
        keys = [(*path, name) for name in bag]
        raise refusal(f"{origin.of(key)}{'.'.join(key)}: unknown; there are no options here" for key in keys)
    return None


def place(name: str, settings: LinkSettings, key: str) -> str:
    """`file:line: links.NAME.KEY`; without file and line where the link's settings come from no file."""
    path = ("links", name, key)
    return f"{settings.options.origin.of(path) if isinstance(settings.options, Bag) else ''}{dotted(path)}"


def _with_secrets(
    bag: Mapping[str, Any], misplaced: list[str], options_type: type[Any], origin: Origin, path: Path
) -> ConfigurationError:
    """The error for options of which some are secrets, which this file is not for; the other mistakes are told as well."""
    place = f"a secret is not kept here but in secrets.toml beside the keys, under [{'.'.join(path[1:-1])}]"
    lines = [f"{origin.of((*path, name))}{dotted((*path, name))}: unknown; {place}" for name in misplaced]
    try:
        check({name: value for name, value in bag.items() if name not in misplaced}, options_type, origin, path)
    except ConfigurationError as error:
        lines += str(error).split("\n")
    return refusal(lines)


# --- the walk ---------------------------------------------------------------------------------------------------------


def _walk(value: Any, wanted: Any, path: Path) -> Iterator[_Mistake]:
    """Every mistake in `value`; nested tables are walked key by key."""
    kind = strip(wanted)
    structs = structs_of(wanted)
    if len(structs) > 1 and isinstance(value, dict):
        yield from _walk_one_of(value, structs, path)
    elif structs and isinstance(value, dict):
        yield from _walk_struct(value, structs[0], path)
    elif get_origin(kind) in (list, tuple) and structs_of(get_args(kind)[0]) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, get_args(kind)[0], (*path, f"[{index}]"))
    elif get_origin(kind) is dict and structs_of(get_args(kind)[1]) and isinstance(value, dict):
        yield from _walk_names(value, wanted, path)
    else:
        yield from _judge(value, wanted, path)


def _walk_struct(value: dict[str, Any], struct: type[Any], path: Path) -> Iterator[_Mistake]:
    mistakes = list(_walk_fields(value, struct, path))
    yield from mistakes
    if not mistakes:
        try:
            msgspec.convert(value, struct)
        except msgspec.ValidationError as error:  # what only the type itself can judge (its __post_init__)
            yield _Mistake(path, str(error).partition(" - at `$")[0])


def _walk_fields(value: dict[str, Any], struct: type[Any], path: Path) -> Iterator[_Mistake]:
    known = fields(struct)
    tag, _ = _tag_of(struct)
    for name, item in value.items():
        if name == tag:
            continue
        if name in known:
            yield from _walk(item, known[name].wanted, (*path, name))
        else:
            yield _Mistake((*path, name), f"unknown; {_suggestion(name, list(known))}")
    for name, each in known.items():
        if each.required and name not in value:
            yield _Mistake((*path, name), f"missing; allowed: {describe.allowed(inspect.type_info(each.wanted))}")


def _walk_one_of(value: dict[str, Any], structs: list[type[Any]], path: Path) -> Iterator[_Mistake]:
    """A table whose tag (`kind`) says which of `structs` it is."""
    tag, _ = _tag_of(structs[0])
    assert tag is not None  # msgspec takes several structs in a union only where they are tagged
    known = {_tag_of(each)[1]: each for each in structs}
    told = value.get(tag)
    if isinstance(told, str) and told in known:
        yield from _walk_struct(value, known[told], path)
        return
    found = f"found {describe.found(tag, told)}" if tag in value else "missing"
    yield _Mistake((*path, tag), f"{found}; allowed: one of {', '.join(describe.found('', each) for each in known)}")


def _suggestion(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 3, 0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'nothing'}"


def _walk_names(value: dict[str, Any], wanted: Any, path: Path) -> Iterator[_Mistake]:
    kind = inspect.type_info(wanted)
    assert isinstance(kind, inspect.DictType)
    if len(value) < (kind.min_length or 0):
        yield _Mistake(path, f"found no entry; allowed: {describe.allowed(kind)}")
    name_type, item_type = get_args(strip(wanted))
    for name, item in value.items():
        try:
            msgspec.convert(name, name_type)
        except ValueError:
            yield _Mistake((*path, name), f"not allowed as a name; allowed: {describe.allowed(kind.key_type)}")
        yield from _walk(item, item_type, (*path, name))


def _judge(value: Any, wanted: Any, path: Path) -> Iterator[_Mistake]:
    inner = ""
    try:
        msgspec.convert(value, wanted)
        if not isinstance(value, float) or math.isfinite(value):
            return
    except msgspec.ValidationError as error:
        inner = str(error).partition(" - at `$")[2].rstrip("`")
    except (ValueError, OverflowError):
        pass  # lone surrogates, numbers of 400 digits
    key = dotted(path)
    allowed = describe.allowed(inspect.type_info(wanted))
    yield _Mistake((*path[:-1], path[-1] + inner), f"found {describe.found(key, value)}; allowed: {allowed}")


# --- types ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """One field of a struct or dataclass."""

    wanted: Any
    required: bool


def fields(struct: type[Any]) -> Mapping[str, Wanted]:
    """The fields of a struct or dataclass by the names that files use."""
    return _fields(cast(Hashable, struct))


@cache  # resolving annotations takes ten times as long as all the rest
def _fields(struct: Any) -> Mapping[str, Wanted]:
    hints = get_type_hints(struct, include_extras=True)
    kind = inspect.type_info(struct)
    assert isinstance(kind, inspect.StructType | inspect.DataclassType)
    return {each.encode_name: Wanted(hints[each.name], each.required) for each in kind.fields}


def _tag_of(struct: type[Any]) -> tuple[str | None, Any]:
    """The key that says which of several tables it is, and what it says for `struct`; `None` where there is none."""
    kind = inspect.type_info(struct)
    return (kind.tag_field, kind.tag) if isinstance(kind, inspect.StructType) else (None, None)


def strip(wanted: Any) -> Any:
    """`wanted` without `Annotated`."""
    return strip(get_args(wanted)[0]) if get_origin(wanted) is Annotated else wanted


def struct_of(wanted: Any) -> type[Any] | None:
    """The struct or dataclass that a table is read as: `wanted` itself, or the only one of a union."""
    structs = structs_of(wanted)
    return structs[0] if len(structs) == 1 else None


def structs_of(wanted: Any) -> list[type[Any]]:
    """The structs or dataclasses that a table may be read as; where there are several, they are tagged."""
    kind = strip(wanted)
    if get_origin(kind) in (Union, UnionType):
        return [found for one in get_args(kind) for found in structs_of(one)]
    if isinstance(kind, type) and (issubclass(kind, msgspec.Struct) or is_dataclass(kind)):
        return [kind]
    return []


def takes_text(wanted: Any) -> bool:
    """Whether a value of type `wanted` is text, whatever it looks like."""
    kind = strip(wanted)
    if get_origin(kind) in (Union, UnionType):
        return all(takes_text(one) for one in get_args(kind) if one is not NoneType)
    return kind is str
