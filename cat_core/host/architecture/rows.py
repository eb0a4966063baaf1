"""Rows of selected tokens, taken out of tensors and put back."""

from __future__ import annotations

from typing import Any

import torch

from ...algorithm.selection import LayoutError, Selection


def gather_rows(tensor: torch.Tensor, selection: Selection, before: int = 0, dim: int = 1) -> torch.Tensor:
    """Keep the selected image tokens of a tensor that has a row for every token of a sequence.

    Args:
        tensor: [B or 1, ..., before + N + after, ...]; the result has B samples and before + k + after rows.
        selection: of k from N tokens for B samples.
        before: rows in front of the image tokens; they and the rows behind stay.
        dim: of the rows.

    Raises:
        LayoutError: there are fewer rows.
    """
    rows = tensor.movedim(dim, 1)
    rows = rows.expand(len(selection.indices), *rows.shape[1:])
    behind = before + selection.tokens
    if before < 0 or rows.shape[1] < behind:
        raise LayoutError(f"{rows.shape[1]} rows where {before} and {selection.tokens} image tokens were expected")
    index = selection.indices.view(*selection.indices.shape, *[1] * (rows.ndim - 2))
    image = rows[:, before:behind].gather(1, index.expand(-1, -1, *rows.shape[2:]))
    return torch.cat((rows[:, :before], image, rows[:, behind:]), 1).movedim(1, dim).contiguous()


def gather_last_rows(tensor: torch.Tensor, selection: Selection) -> torch.Tensor:
    """:func:`gather_rows` where the image tokens are the last rows of a tensor [B or 1, before + N, ...]."""
    return gather_rows(tensor, selection, before=tensor.shape[1] - selection.tokens)


def gather_waves(parts: tuple[torch.Tensor, ...], selection: Selection) -> tuple[torch.Tensor, ...]:
    """Cosines and sines [1, before + N, d], as the host's language models have them, -> [B, 1, before + k, d]."""
    return tuple(gather_last_rows(part, selection).unsqueeze(1) for part in parts)


def scatter_rows(tokens: torch.Tensor, selection: Selection, before: int = 0) -> torch.Tensor:
    """Inverse of :func:`gather_rows` for [B, before + k + after, d], zero for tokens that are not selected."""
    last = before + selection.count
    image = selection.scatter(tokens[:, before:last])
    return torch.cat((tokens[:, :before], image, tokens[:, last:]), 1)


def gather_control(control: Any, kind: str, selection: Selection, last: int | None = None) -> Any:
    """Control residuals of a kind ("input", "output") for gathered tokens.

    Residuals are added after each block: to gathered tokens everywhere but after block ``last``, which scatters.
    """
    residuals = (control or {}).get(kind)
    if not residuals:
        return control
    gathered = [
        residual if residual is None or i == last else gather_rows(_full_length(residual, selection), selection)
        for i, residual in enumerate(residuals)
    ]
    return {**control, kind: gathered}


def _full_length(residual: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Residuals may be for the first tokens only: the others get zeros."""
    return torch.nn.functional.pad(residual, (0, 0, 0, selection.tokens - residual.shape[1]))
