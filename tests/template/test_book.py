"""The book of templates, across restarts and damage."""

from __future__ import annotations

import pytest

from rataccess.errors import TemplateError
from rataccess.template import Bool, Integer, Scaled, Template, TemplateBook


class Shelf:
    """A `Memory` of its own."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.kept[key] = value

    put_now = put


def test_a_template_is_new_once_and_outlives_a_restart() -> None:
    shelf, template = Shelf(), Template("t", a=Integer(0, 5), b=Scaled(0, 1, 0.1))
    book = TemplateBook(shelf, "templates/solution")
    assert book.find(template.id) is None
    assert book.define(template)
    assert not book.define(template)
    assert list(shelf.kept) == [f"templates/solution/{template.id}"]
    later = TemplateBook(shelf, "templates/solution")
    assert later.find(template.id) == template
    assert not later.define(template)
    assert TemplateBook(shelf, "templates/management").find(template.id) is None


def test_an_id_is_never_given_twice() -> None:
    shelf, book = Shelf(), None
    for _ in range(2):  # the same after a restart
        book = TemplateBook(shelf, "t")
        book.define(Template("t", id=5, a=Integer(0, 5)))
        with pytest.raises(TemplateError, match=r"the id 5 is taken by <Template t 5 \(a\)>"):
            book.define(Template("t", id=5, a=Integer(0, 6)))
        with pytest.raises(TemplateError):
            book.define(Template("other", id=5, a=Integer(0, 5)))
    assert book is not None
    assert book.find(5) == Template("t", id=5, a=Integer(0, 5))
    assert book.define(Template("t", id=6, a=Integer(0, 6)))


def test_what_was_damaged_on_disk_is_unknown_until_defined_again() -> None:
    template = Template("t", a=Bool())
    for damage in (b"", b"\xff", b"\x01", b"\x82aa\x80"):
        shelf = Shelf()
        TemplateBook(shelf, "t").define(template)
        shelf.kept[f"t/{template.id}"] = damage
        book = TemplateBook(shelf, "t")
        assert book.find(template.id) is None
        assert book.define(template)
        assert TemplateBook(shelf, "t").find(template.id) == template


def test_a_definition_under_another_id_is_not_believed() -> None:
    shelf, template = Shelf(), Template("t", a=Bool())
    TemplateBook(shelf, "t").define(template)
    shelf.kept["t/9"] = shelf.kept.pop(f"t/{template.id}")
    assert TemplateBook(shelf, "t").find(9) is None
