"""The part of ``dataclasses`` that this library uses, for programs that start often: a command, a Salt call, an agent.

The standard module loads ``inspect`` (45 million instructions, more than Python's own start), and compiles six methods
of each class as that is defined, a third of a millisecond, whether an object of it is ever made or not. Here a class
gets functions that exist already, and its ``__init__`` is compiled as its first object is made. For what is in here,
the behaviour is the same, and a test holds it against the standard module's; the type checker sees that one.

Classes have slots always, and their annotations are texts (``from __future__ import annotations``).
"""

from __future__ import annotations

import operator

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    #: Of a class: its fields by name, those of its bases first.
    _FIELDS = "__record_fields__"
    _MISSING = object()

    class Field:
        """A field of a class, as :func:`fields` returns it."""

        __slots__ = ("compare", "default", "default_factory", "kw_only", "name")

        def __init__(self, default, default_factory, kw_only, compare):
            self.name = ""
            self.default = default
            self.default_factory = default_factory
            self.kw_only = kw_only
            self.compare = compare

    def field(*, default=_MISSING, default_factory=_MISSING, kw_only=False, compare=True):
        """Return what stands for a field's default in the body of a class."""
        return Field(default, default_factory, kw_only, compare)

    def fields(one):
        """Return the fields of a class, or of an object of it, in their order."""
        return tuple(getattr(one, _FIELDS).values())

    def replace(one, /, **changes):
        """Return an object as *one* but for *changes*, checked as a new one is."""
        kept = {name: getattr(one, name) for name in getattr(one, _FIELDS) if name not in changes}
        return one.__class__(**kept, **changes)

    def dataclass(*, slots, frozen=False, order=False, kw_only=False):
        """Return the decorator that makes a class with fields of one whose body annotates them; *slots* is True."""
        assert slots

        def decorated(cls):
            own = _own_fields(cls, kw_only)
            inherited = {}
            for base in cls.__mro__[:0:-1]:
                inherited |= base.__dict__.get(_FIELDS, {})
            known = inherited | own
            members = {name: one for name, one in cls.__dict__.items() if name not in own and name not in _OF_DICT}
            members |= {
                "__slots__": tuple(name for name in own if name not in inherited),
                "__match_args__": tuple(name for name, one in known.items() if not one.kw_only),
                _FIELDS: known,
            }
            compared = [name for name, one in known.items() if one.compare]
            methods = _methods(compared, frozen=frozen, order=order)
            if "__eq__" in cls.__dict__ and members.get("__hash__") is None:
                members.pop("__hash__", None)  # Python's own doing
            made = type(cls)(cls.__name__, cls.__bases__, methods | members)
            made.__qualname__ = cls.__qualname__
            if "__init__" not in members:
                made.__init__ = _late_init(made, frozen)
            return made

        return decorated

    #: What a class without slots has and one with slots has not.
    _OF_DICT = ("__dict__", "__weakref__")

    def _own_fields(cls, kw_only):
        """Return the fields that the body of *cls* annotates."""
        found = {}
        for name, annotation in cls.__annotations__.items():
            if annotation.startswith("ClassVar"):
                continue
            default = cls.__dict__.get(name, _MISSING)
            one = default if isinstance(default, Field) else Field(default, _MISSING, False, True)
            one.name = name
            one.kw_only = one.kw_only or kw_only
            found[name] = one
        return found

    def _methods(compared, *, frozen, order):
        """Return the methods of a class, but for ``__init__``."""
        values = operator.attrgetter(*compared) if compared else lambda one: ()

        def comparison(operation):
            def compare(self, other):
                return operation(values(self), values(other)) if other.__class__ is self.__class__ else NotImplemented

            return compare

        found = {"__repr__": _repr, "__eq__": comparison(operator.eq), "__hash__": None}
        if order:
            found |= {f"__{name}__": comparison(getattr(operator, name)) for name in ("lt", "le", "gt", "ge")}
        if frozen:
            found |= {
                "__hash__": lambda self: hash(values(self)),
                "__setattr__": _refuse_assignment,
                "__delattr__": _refuse_assignment,
            }
        return found

    def _repr(self):
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in getattr(self, _FIELDS))
        return f"{self.__class__.__qualname__}({shown})"

    def _refuse_assignment(self, name, value=None):
        raise AttributeError(f"{self.__class__.__qualname__} does not change (field {name!r})")

    def _late_init(cls, frozen):
        """Return the ``__init__`` that puts the real one in its place as it is called for the first time."""

        def __init__(self, /, *values, **named):
            cls.__init__ = _init(cls, frozen)
            cls.__init__(self, *values, **named)

        return __init__

    def _init(cls, frozen):
        """Compile the ``__init__`` of *cls*."""
        known = getattr(cls, _FIELDS)
        names = {"_missing": _MISSING}
        parameters, lines = [], []
        for name, one in sorted(known.items(), key=lambda pair: pair[1].kw_only):
            value = name
            if one.kw_only and "*" not in parameters:
                parameters.append("*")
            if one.default_factory is not _MISSING:
                names[f"_make_{name}"] = one.default_factory
                parameters.append(f"{name}=_missing")
                value = f"_make_{name}() if {name} is _missing else {name}"
            elif one.default is not _MISSING:
                names[f"_default_{name}"] = one.default
                parameters.append(f"{name}=_default_{name}")
            else:
                parameters.append(name)
            if frozen:
                # The descriptor of the slot, as the class itself allows no assignment.
                names[f"_set_{name}"] = getattr(cls, name).__set__
                lines.append(f" _set_{name}(self, {value})")
            else:
                lines.append(f" self.{name} = {value}")
        if hasattr(cls, "__post_init__"):
            lines.append(" self.__post_init__()")
        exec(f"def __init__(self, {', '.join(parameters)}):\n" + "\n".join(lines or [" pass"]), names)
        made = names["__init__"]
        made.__qualname__ = f"{cls.__qualname__}.__init__"
        return made
