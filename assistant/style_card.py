"""What a style's card and the command line say about it in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assistant.overview import printable


def gain_of(described: Mapping[str, Any]) -> tuple[float, float]:
    """The share of the nats per note that a style saves on its musician's music, and adds on other music."""
    figures = described["nats_per_note"]
    gain = 1 - figures["own_after"] / figures["own_before"]
    return gain, figures["base_after"] / figures["base_before"] - 1


def verdict(described: Mapping[str, Any]) -> str:
    """What came out, in a sentence or two."""
    figures = described["nats_per_note"]
    gain, forgotten = gain_of(described)
    better = f"your own pieces, which it has not seen, became {gain:.1%} likelier"
    text = f"{better} ({figures['own_before']:.3f} to {figures['own_after']:.3f} nats a note), "
    text += f"other music {abs(forgotten):.1%} {'less likely' if forgotten > 0 else 'likelier'}"
    if written := described.get("written"):
        text += f"\n{written_line(written)}"
    if gain < 0.02:
        text += "\nthat is hardly anything: the pieces may be too few, too different, or near the network already"
    return text


def written_line(written: Mapping[str, Any]) -> str:
    """What the candidates of a style are like, in a sentence."""
    near = f"{written['nearer']:.0%} of {written['candidates']} candidates came nearer to your music"
    line = f"{near}; {written['copied_after']:.1%} of their bars are yours note for note"
    line += f" (of your own other pieces: {written['human']:.1%})"
    if written["copies"]:
        line += "\nit copies more than you do yourself: use less of it, or --own FOLDER --max-copy 12"
    return line


def card(described: Mapping[str, Any]) -> str:
    """The README of a style."""
    figures = described["nats_per_note"]
    gain, forgotten = gain_of(described)
    points = "\n".join(f"| {step} | {value:.3f} |" for step, value in described["curve"])
    size = f"{described['pieces']} pieces with {described['notes']:,} notes"
    effort = f"{described['steps']} steps in {described['minutes']} minutes"
    held = ", ".join(printable(str(name)) for name in described["held_out"])
    own, other = (f"{figures[f'{kind}_before']:.3f} | {figures[f'{kind}_after']:.3f}" for kind in ("own", "base"))
    return f"""# {described["name"]}

A style for Descant: an adapter of rank {described["rank"]}, trained for {effort} on {size}.
It fits the weights {str(described["base"])[:12]} only.

| nats per note | before | after | |
|---|---|---|---|
| the musician's own pieces that were kept aside | {own} | {gain:.1%} fewer |
| other music | {other} | {forgotten:+.1%} |

{_written(described.get("written"))}Kept aside and measured on, whole pieces: {held}.

| step | nats per note on the pieces that say when to stop |
|---|---|
{points}
"""


def _written(written: Mapping[str, Any] | None) -> str:
    """The part of a card that tells what is written with the style."""
    if not written:
        return "The pieces are too short to go on from, so nothing that is written was measured.\n\n"
    flag = "\n**It copies more than the musician does.**\n" if written["copies"] else ""
    return f"""| {written["candidates"]} candidates, written after pieces that were kept aside | without | with | |
|---|---|---|---|
| distance to the musician's music | {written["distance_before"]:.3f} | {written["distance_after"]:.3f} | |
| two-bar windows that are in the pieces learned from | {written["copied_before"]:.1%} | \
{written["copied_after"]:.1%} | the musician's other pieces: {written["human"]:.1%} |
| candidates that a classifier finds more like the musician's | | {written["nearer"]:.0%} | |
{flag}
"""
