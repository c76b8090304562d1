"""CRC-32C (Castagnoli) of bytes, in NumPy: TensorFlow's checksum, which zlib does not have.

A CRC register that begins at 0 is linear in its message and blind to zeros before it. So the
message is cut into lanes of one length, all lanes go through the table together, a byte of each at
a time, and neighbours are joined: the left one's register moves on by the length of the right one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
_LANES = 4096
_ONES = 0xFFFFFFFF

Words = npt.NDArray[np.uint32]


def _byte_table() -> Words:
    words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        words = words >> np.uint32(1) ^ (words & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return words


_TABLE = _byte_table()


def crc32c(data: bytearray) -> int:
    """The checksum of some bytes."""
    first = bytes(b ^ 0xFF for b in data[:4])  # what a register that begins at ones does
    if len(data) < 4:
        return _short(data)
    message = np.frombuffer(data, np.uint8).copy()
    message[:4] = np.frombuffer(first, np.uint8)
    n_lanes = min(_LANES, 1 << (len(message) // 64).bit_length())
    length = -(-len(message) // n_lanes)
    padded = np.zeros(n_lanes * length, np.uint8)
    padded[len(padded) - len(message) :] = message
    registers = np.zeros(n_lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(n_lanes, length).T):
        registers = (registers >> 8) ^ _TABLE[(registers ^ column) & 0xFF]
    shift = _shift_by(length)
    while len(registers) > 1:
        registers = _apply(shift, registers[::2]) ^ registers[1::2]
        shift = _apply(shift, shift)
    return int(registers[0]) ^ _ONES


def masked_crc32c(data: bytearray) -> int:
    """The checksum as files of TensorFlow and LevelDB hold it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ONES


def _short(data: bytearray) -> int:
    register = _ONES
    for byte in data:
        register = register >> 8 ^ int(_TABLE[(register ^ byte) & 0xFF])
    return register ^ _ONES


def _shift_by(n_bytes: int) -> Words:
    """(32,): what each bit of a register becomes after `n_bytes` zeros."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = (bits >> 8) ^ _TABLE[bits & 0xFF]  # one zero
    total = bits
    while n_bytes:
        if n_bytes & 1:
            total = _apply(power, total)
        power = _apply(power, power)
        n_bytes >>= 1
    return total


def _apply(columns: Words, registers: Words) -> Words:
    """A linear map, given by what it makes of each bit, of some registers."""
    result = np.zeros_like(registers)
    for bit in range(32):
        result ^= np.where((registers >> bit) & 1, columns[bit], np.uint32(0))
    return result
