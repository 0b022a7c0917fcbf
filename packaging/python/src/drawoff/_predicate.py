"""Translates predicates of polars into conditions of drawoff.

A condition that is pushed down must keep every row that polars would keep, and may keep more: polars applies the whole
predicate again. So a part that has no translation is left out of a conjunction, and a part of a disjunction that has
none takes the disjunction with it. Negations are moved to the leaves, where they are comparisons of their own: both
languages have the same logic of three values, so that a comparison with null keeps no row on either side.

drawoff compares numbers by their digits in the source, polars by the nearest double. Rounding keeps the order, so a
comparison with a double is pushed down with the neighbour of that double as its bound.
"""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union

from ._options import quote

if TYPE_CHECKING:
    import polars

# Kind of a column: "int", "float", "bool" or "text". Other columns are not compared by drawoff.
Kinds = Mapping[str, str]

_NEGATED = {"Eq": "NotEq", "NotEq": "Eq", "Lt": "GtEq", "LtEq": "Gt", "Gt": "LtEq", "GtEq": "Lt"}
_MIRRORED = {"Eq": "Eq", "NotEq": "NotEq", "Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
_SIGNS = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_CHAINS = {"And": "and", "LogicalAnd": "and", "Or": "or", "LogicalOr": "or"}
# The command refuses conditions that are nested deeper than 100 levels.
_MOST_LEVELS = 40
# Values of a list; a longer one makes a command line that costs more than it saves.
_MOST_VALUES = 100
_INT_TYPES = frozenset({"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Int"})
_FLOAT_TYPES = frozenset({"Float32", "Float64", "Float"})

Literal = Union[bool, int, float, str]


def translate(predicate: "polars.Expr", kinds: Kinds) -> Optional[str]:
    """Returns a condition that keeps every row for which `predicate` is true, or None if there is none."""
    try:
        tree = json.loads(predicate.meta.serialize(format="json"))
        return _condition(tree, kinds, False)
    except Exception:
        # Expressions that polars cannot write, such as Python functions. The format is polars' own and may change;
        # what is not recognized is filtered by polars.
        return None


def _condition(node: Any, kinds: Kinds, negated: bool, depth: int = 0) -> Optional[str]:
    if depth > _MOST_LEVELS:
        return None
    name, body = _only(node)
    if name == "BinaryExpr" and isinstance(body, dict):
        op = body.get("op")
        if op in _CHAINS:
            parts = [_condition(part, kinds, negated, depth + 1) for part in _operands(node, _CHAINS[op])]
            return _join("and" if (_CHAINS[op] == "and") != negated else "or", parts)
        if op in _NEGATED:
            return _comparison(body["left"], op, body["right"], kinds, negated)
        return None
    if name == "Function" and isinstance(body, dict):
        return _function(body.get("input") or [], body.get("function"), kinds, negated, depth)
    if name == "Column" and kinds.get(body) == "bool":
        return f"not {quote(body)}" if negated else quote(body)
    return None


def _join(word: str, parts: List[Optional[str]]) -> Optional[str]:
    known = [part for part in parts if part is not None]
    if not known or (word == "or" and len(known) < len(parts)):
        return None
    return known[0] if len(known) == 1 else "(" + f" {word} ".join(known) + ")"


def _operands(node: Any, word: str) -> List[Any]:
    """The operands of a chain of one operator, which polars nests, in their order."""
    found, waiting = [], [node]
    while waiting:
        node = waiting.pop()
        name, body = _only(node)
        if name == "BinaryExpr" and isinstance(body, dict) and _CHAINS.get(str(body.get("op"))) == word:
            waiting += [body["right"], body["left"]]
        else:
            found.append(node)
    return found


def _function(inputs: List[Any], function: Any, kinds: Kinds, negated: bool, depth: int) -> Optional[str]:
    family, what = _only(function)
    name, settings = _only(what)
    if family == "Boolean" and name == "Not" and len(inputs) == 1:
        return _condition(inputs[0], kinds, not negated, depth + 1)
    column = _column(inputs[0]) if inputs else None
    if column is None or column not in kinds:
        return None
    if family == "Boolean" and name in ("IsNull", "IsNotNull"):
        return f"{quote(column)} is {'' if (name == 'IsNull') != negated else 'not '}null"
    if family == "Boolean" and name == "IsIn" and not (settings or {}).get("nulls_equal"):
        return _is_in(column, inputs[1], kinds, negated)
    if family == "Boolean" and name == "IsBetween":
        closed = (settings or {}).get("closed")
        low = "GtEq" if closed in ("Both", "Left") else "Gt"
        high = "LtEq" if closed in ("Both", "Right") else "Lt"
        parts = [
            _comparison(inputs[0], low, inputs[1], kinds, negated),
            _comparison(inputs[0], high, inputs[2], kinds, negated),
        ]
        return _join("or" if negated else "and", parts)
    if family == "StringExpr" and kinds[column] == "text" and len(inputs) == 2:
        text = _literal(inputs[1])
        call = {"StartsWith": "starts_with", "EndsWith": "ends_with"}.get(name)
        if name == "Contains" and (settings or {}).get("literal"):
            call = "contains"
        if call is not None and isinstance(text, str):
            return f"{'not ' if negated else ''}{call}({quote(column)}, {_text(text)})"
    return None


def _comparison(left: Any, op: str, right: Any, kinds: Kinds, negated: bool) -> Optional[str]:
    column, literal = _column(left), _literal(right)
    if column is None or literal is None:
        column, literal, op = _column(right), _literal(left), _MIRRORED[op]
    if column is None or literal is None:
        return None
    if negated:
        op = _NEGATED[op]
    kind = kinds.get(column)
    if kind == "text" and isinstance(literal, str):
        return f"{quote(column)} {_SIGNS[op]} {_text(literal)}"
    if kind == "bool" and isinstance(literal, bool) and op in ("Eq", "NotEq"):
        return quote(column) if (op == "Eq") == literal else f"not {quote(column)}"
    if isinstance(literal, (bool, str)):
        return None
    if kind == "int" and isinstance(literal, int):
        return f"{quote(column)} {_SIGNS[op]} {literal}"
    if kind in ("int", "float"):
        return _double(column, op, float(literal))
    return None


def _double(column: str, op: str, value: float) -> Optional[str]:
    if not math.isfinite(value):
        return None
    below, above = _number(math.nextafter(value, -math.inf)), _number(math.nextafter(value, math.inf))
    name = quote(column)
    if op == "NotEq":
        # A number beside the double may be equal to it in digits only.
        return f"{name} is not null"
    if op == "Eq":
        parts = [f"{name} > {below}" if below else None, f"{name} < {above}" if above else None]
        return _join("and", parts)
    if op in ("Gt", "Lt"):
        return f"{name} {_SIGNS[op]} {_number(value)}"
    bound = below if op == "GtEq" else above
    return f"{name} {'>' if op == 'GtEq' else '<'} {bound}" if bound else f"{name} is not null"


def _is_in(column: str, values: Any, kinds: Kinds, negated: bool) -> Optional[str]:
    found = _list(values)
    if not found or len(found) > _MOST_VALUES or any(value is None for value in found):
        return None
    kind = kinds[column]
    if kind == "text" and all(isinstance(value, str) for value in found):
        words = ", ".join(_text(value) for value in found)
    elif kind == "int" and all(type(value) is int for value in found):
        words = ", ".join(str(value) for value in found)
    else:
        return None
    return f"{quote(column)} {'not ' if negated else ''}in ({words})"


def _only(node: Any) -> Tuple[str, Any]:
    """The name and the body of a node, which is a mapping of one name, or a name alone."""
    if isinstance(node, str):
        return node, None
    if isinstance(node, dict) and len(node) == 1:
        return next(iter(node.items()))
    return "", None


def _column(node: Any) -> Optional[str]:
    name, body = _only(node)
    return body if name == "Column" and isinstance(body, str) else None


def _literal(node: Any) -> Optional[Literal]:
    name, body = _only(node)
    if name != "Literal":
        return None
    kind, value = _only(body)
    if kind not in ("Dyn", "Scalar"):
        return None
    kind, value = _only(value)
    if kind in _INT_TYPES and type(value) is int and abs(value) < 1 << 63:
        return value
    if kind in _FLOAT_TYPES and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in ("String", "StringOwned", "Str") and isinstance(value, str):
        return value
    if kind == "Boolean" and isinstance(value, bool):
        return value
    return None


def _list(node: Any) -> Optional[List[Any]]:
    name, body = _only(node)
    kind, value = _only(body)
    if name != "Literal" or kind != "Scalar":
        return None
    kind, value = _only(value)
    if kind != "List" or not isinstance(value, list):
        return None
    import polars

    try:
        # polars writes the list as an Arrow stream of one column.
        series = polars.read_ipc_stream(io.BytesIO(bytes(value))).to_series(0)
    except Exception:
        return None
    if series.dtype == polars.String or series.dtype.is_integer():
        return series.to_list()
    return None


def _number(value: float) -> str:
    # repr is the shortest text that reads as this double. An infinity has none.
    return repr(value) if math.isfinite(value) else ""


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def kinds_of(schema: Mapping[str, Any], plain_text: Dict[str, bool]) -> Dict[str, str]:
    """Returns the kinds of the columns that drawoff can compare, by their type in polars.

    A column of text counts only if `plain_text` says so: the text may be the JSON of values of several types, which
    drawoff compares by these values.
    """
    import polars

    kinds: Dict[str, str] = {}
    for name, dtype in schema.items():
        if dtype == polars.Int64:
            kinds[name] = "int"
        elif dtype == polars.Float64:
            kinds[name] = "float"
        elif dtype == polars.Boolean:
            kinds[name] = "bool"
        elif dtype == polars.String and plain_text.get(name):
            kinds[name] = "text"
    return kinds
