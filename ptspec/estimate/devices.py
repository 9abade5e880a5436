"""Data sheet values of devices that a run can be planned for, with sources.

To add one: a line in `DEVICES`. Rates are bytes per second in one direction (data sheets often give the sum
of both); `peak` is dense bf16 with float32 accumulation, without sparsity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device; `memory` in bytes, as sold.

    `peak`: FLOP/s of bf16 matrix products. `bandwidth`: of its memory, in bytes/s. `link`: between the
    devices of a node, through `linked_by`. `node`: devices of a usual node, whose `network` is shared by all
    of them.
    """

    name: str
    memory: float
    peak: float
    bandwidth: float
    link: float
    linked_by: str
    node: int
    network: float
    networked_by: str
    source: str

    @property
    def is_switched(self) -> bool:
        """Whether devices of a node have direct links besides PCIe."""
        return "PCIe" not in self.linked_by


GB, TB, TFLOPS = 1e9, 1e12, 1e12
_DGX_H = "8 × 400 Gb/s InfiniBand (DGX H100, H200)"
_DGX_A = "8 × 200 Gb/s InfiniBand (DGX A100)"
_ETHERNET = "100 Gb/s Ethernet (assumed)"

DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device(
            *("B200", 180 * GB, 2250 * TFLOPS, 8 * TB, 900 * GB, "NVLink 5", 8, 400 * GB),
            *("8 × 400 Gb/s InfiniBand (DGX B200)", "NVIDIA HGX and DGX B200 data sheets"),
        ),
        Device(
            *("H200", 141 * GB, 989 * TFLOPS, 4.8 * TB, 450 * GB, "NVLink 4", 8, 400 * GB),
            *(_DGX_H, "NVIDIA H200 data sheet (SXM)"),
        ),
        Device(
            *("H100", 80 * GB, 989 * TFLOPS, 3.35 * TB, 450 * GB, "NVLink 4", 8, 400 * GB),
            *(_DGX_H, "NVIDIA H100 data sheet (SXM)"),
        ),
        Device(
            *("H100-PCIe", 80 * GB, 756 * TFLOPS, 2 * TB, 64 * GB, "PCIe 5 ×16", 8, 12.5 * GB),
            *(_ETHERNET, "NVIDIA H100 data sheet (PCIe)"),
        ),
        Device(
            *("A100", 80 * GB, 312 * TFLOPS, 2.039 * TB, 300 * GB, "NVLink 3", 8, 200 * GB),
            *(_DGX_A, "NVIDIA A100 data sheet (80 GB SXM)"),
        ),
        Device(
            *("A100-40GB", 40 * GB, 312 * TFLOPS, 1.555 * TB, 300 * GB, "NVLink 3", 8, 200 * GB),
            *(_DGX_A, "NVIDIA A100 data sheet (40 GB SXM)"),
        ),
        Device(
            *("A100-PCIe", 80 * GB, 312 * TFLOPS, 1.935 * TB, 32 * GB, "PCIe 4 ×16", 8, 12.5 * GB),
            *(_ETHERNET, "NVIDIA A100 data sheet (80 GB PCIe)"),
        ),
        Device(
            *("L40S", 48 * GB, 362 * TFLOPS, 0.864 * TB, 32 * GB, "PCIe 4 ×16", 8, 12.5 * GB),
            *(_ETHERNET, "NVIDIA L40S data sheet"),
        ),
        Device(
            *("L4", 24 * GB, 121 * TFLOPS, 0.3 * TB, 32 * GB, "PCIe 4 ×16", 8, 12.5 * GB),
            *(_ETHERNET, "NVIDIA L4 data sheet"),
        ),
        Device(
            *("A10", 24 * GB, 125 * TFLOPS, 0.6 * TB, 32 * GB, "PCIe 4 ×16", 4, 12.5 * GB),
            *(_ETHERNET, "NVIDIA A10 data sheet"),
        ),
        Device(
            *("RTX-5090", 32 * GB, 209.5 * TFLOPS, 1.792 * TB, 64 * GB, "PCIe 5 ×16", 2, 1.25 * GB),
            *("10 Gb/s Ethernet (assumed)", "NVIDIA RTX Blackwell architecture paper"),
        ),
        Device(
            *("RTX-4090", 24 * GB, 165.2 * TFLOPS, 1.008 * TB, 32 * GB, "PCIe 4 ×16", 2, 1.25 * GB),
            *("10 Gb/s Ethernet (assumed)", "NVIDIA Ada architecture paper"),
        ),
        Device(
            *("RTX-3090", 24 * GB, 71 * TFLOPS, 0.936 * TB, 32 * GB, "PCIe 4 ×16", 2, 1.25 * GB),
            *("10 Gb/s Ethernet (assumed)", "NVIDIA Ampere GA102 architecture paper"),
        ),
        Device(
            *("MI300X", 192 * GB, 1307 * TFLOPS, 5.3 * TB, 448 * GB, "Infinity Fabric", 8, 400 * GB),
            *("8 × 400 Gb/s (assumed)", "AMD Instinct MI300X data sheet"),
        ),
        Device(
            *("MI325X", 256 * GB, 1307 * TFLOPS, 6 * TB, 448 * GB, "Infinity Fabric", 8, 400 * GB),
            *("8 × 400 Gb/s (assumed)", "AMD Instinct MI325X data sheet"),
        ),
    )
}


def find(name: str) -> Device | None:
    """Return the device of that name, ignoring case, blanks and hyphens; None if unknown."""
    wanted = _plain(name)
    return next((device for device in DEVICES.values() if _plain(device.name) == wanted), None)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
