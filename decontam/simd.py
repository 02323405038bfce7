"""The vector instructions of the scanner: all that Python with Numba cannot say by itself, in one place.

Each function below is one operation on 64 bytes of memory, written as LLVM vector code (`<64 x i8>`). LLVM turns it
into what the machine has: one AVX-512 register, two of AVX2, four of NEON. A comparison of 64 bytes gives 64 bits,
and from there on a text is a bit mask: a bit per byte, lowest bit first.

    text       T h e   c a t ,   s a t
    separator  0 0 0 1 0 0 0 1 1 0 0 0      separators(…)
    word       1 1 1 0 1 1 1 0 0 1 1 1      its complement
    edge       1 0 0 1 1 0 0 1 0 1 0 0 …    word ^ (word << 1): where a token starts or has ended

Addresses are plain integers. A load of 64 bytes is safe where the bytes belong to the text, or where it stays inside
one memory page: a page is readable as a whole (`PAGE`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types  # noqa: TID253 - this module is imported where it is used
from numba.extending import intrinsic  # noqa: TID253

from decontam.analyzers import TULU_SEPARATORS

BLOCK = 64  # bytes per step, and bits per mask
PAGE = 4096  # bytes; the smallest page of any platform that Numba runs on

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_BYTES = ir.VectorType(_BYTE, BLOCK)

Emit = Callable[[Any, Any, Any, Any], Any]  # (context, builder, signature, arguments) → value


def _splat(value: int) -> ir.Constant:
    return ir.Constant(_BYTES, [value] * BLOCK)


def _load(builder: Any, address: Any, of: ir.Type) -> Any:
    loaded = builder.load(builder.inttoptr(address, of.as_pointer()), typ=of)
    loaded.align = 1
    return loaded


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


def _between(builder: Any, values: Any, first: int, last: int) -> Any:
    """Which bytes lie in [first, last]: one subtraction and one unsigned comparison."""
    return builder.icmp_unsigned("<=", builder.sub(values, _splat(first)), _splat(last - first))


def _any_of(builder: Any, masks: list[Any]) -> Any:
    joined = masks[0]
    for mask in masks[1:]:
        joined = builder.or_(joined, mask)
    return joined


@intrinsic
def load_word(typing: Any, address: Any) -> tuple[Any, Emit]:
    """The 8 bytes at an address as a little-endian number."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _load(builder, args[0], _WORD)

    return types.uint64(types.uint64), emit


@intrinsic
def load_byte(typing: Any, address: Any) -> tuple[Any, Emit]:
    """The byte at an address, as a number."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(_load(builder, args[0], _BYTE), _WORD)

    return types.int64(types.uint64), emit


@intrinsic
def store_byte(typing: Any, address: Any, byte: Any) -> tuple[Any, Emit]:
    """Writes one byte to an address."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, builder.trunc(args[1], _BYTE), args[0])
        return context.get_dummy_value()

    return types.void(types.uint64, types.int64), emit


@intrinsic
def trailing_zeros(typing: Any, mask: Any) -> tuple[Any, Emit]:
    """The place of the lowest bit that is set; 64 where none is."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), emit


@intrinsic
def count_ones(typing: Any, mask: Any) -> tuple[Any, Emit]:
    """How many bits are set."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), emit


@intrinsic
def copy_block(typing: Any, source: Any, target: Any) -> tuple[Any, Emit]:
    """Copies 64 bytes; the mask of those that are not ASCII."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = _load(builder, args[0], _BYTES)
        _store(builder, values, args[1])
        return builder.bitcast(builder.icmp_signed("<", values, _splat(0)), _WORD)

    return types.uint64(types.uint64, types.uint64), emit


def _word_mask(separators: Callable[[Any, Any], Any]) -> Any:
    """An operation that lower-cases the ASCII letters of 64 bytes in place and gives the mask of word bytes."""

    @intrinsic
    def word_mask(typing: Any, address: Any) -> tuple[Any, Emit]:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            values = _load(builder, args[0], _BYTES)
            capital = _between(builder, values, ord("A"), ord("Z"))
            lowered = builder.select(capital, builder.add(values, _splat(32)), values)
            _store(builder, lowered, args[0])
            return builder.not_(builder.bitcast(separators(builder, lowered), _WORD))

        return types.uint64(types.uint64), emit

    return word_mask


def _tulu_separators(builder: Any, values: Any) -> Any:
    return _any_of(builder, [builder.icmp_unsigned("==", values, _splat(ord(c))) for c in TULU_SEPARATORS])


def _unicode_separators(builder: Any, values: Any) -> Any:
    controls = [_between(builder, values, 0x00, 0x20), builder.icmp_unsigned("==", values, _splat(0x7F))]
    listed = [builder.icmp_unsigned("==", values, _splat(ord(c))) for c in TULU_SEPARATORS if ord(c) > 0x20]
    return _any_of(builder, controls + listed)


def _word_separators(builder: Any, values: Any) -> Any:
    kept = [_between(builder, values, first, last) for first, last in ((0x30, 0x39), (0x61, 0x7A), (0x80, 0xFF))]
    return builder.not_(_any_of(builder, kept))


# What separates words among ASCII bytes; in other alphabets separators have become spaces before (`folding`).
tulu_words = _word_mask(_tulu_separators)
unicode_words = _word_mask(_unicode_separators)
word_words = _word_mask(_word_separators)
