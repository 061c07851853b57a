"""One page of a list that is read newest first: by the last key seen, so that page 100 costs what page 1 costs."""

from typing import Any

from sqlalchemy import Column, ColumnElement, and_, or_


def older_than(key: tuple[Any, Any], at: Column[Any], name: Column[Any]) -> ColumnElement[bool]:
    """Return the condition: comes after `key` where both columns descend. The second column tells equals apart."""
    return or_(at < key[0], and_(at == key[0], name < key[1]))
