"""``mlgit certify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Output, Styled
from mlgit.cli.style import Column
from mlgit.cli.training_options import Device, TrustCode, runtime

if TYPE_CHECKING:
    from mlgit.objects import CertificateResult


def certify(
    context: Context,
    revision: Annotated[str, typer.Argument(help="The commit to examine.", metavar="REV")],
    *,
    certificate: Annotated[
        Path, typer.Option("--certificate", "-c", help="The certificate file.", metavar="FILE.toml")
    ],
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> int:
    """Judge a commit by a certificate and keep the result.

    A certificate names a task, a split and thresholds; docs/certificates.md says how to write one. Exit code 1 when a
    threshold is not reached. `mlgit log` and `mlgit show` display the verdict.
    """
    from mlgit.cli.views import certificate_json
    from mlgit.porcelain.certify import certify as judge

    repository = context.repository()
    found = judge(
        repository,
        revision,
        context.directory / certificate,
        runtime=runtime(device, trust_code),
        actor=context.actor(repository),
        progress=context.progress,
    )
    if json:
        context.output.json({"certificate": certificate_json(found.result)})
    else:
        print_result(context.output, found.result)
    return 0 if found.result.passed else 1


def print_result(output: Output, result: CertificateResult) -> None:
    """Print the checks as a table, then the verdict."""
    columns: list[str | Column] = ["metric", "domain", Column("value", right=True), "interval", "threshold", "verdict"]
    output.table(
        columns,
        [
            [
                check.metric,
                check.domain or "all",
                f"{check.value:.4f}",
                f"{check.low:.4f} to {check.high:.4f}",
                f"{check.direction.replace('_', ' ')} {check.threshold:g}",
                Styled("passed" if check.passed else "failed", "good" if check.passed else "bad"),
            ]
            for check in result.checks
        ],
    )
    verdict = Styled("passed", "good") if result.passed else Styled("failed", "bad")
    judged = "the confidence bound" if result.judge == "lower-bound" else "the measured value"
    output.line(
        "certificate ", result.certificate, ": ", verdict, f" ({judged} is compared, confidence {result.confidence:g})"
    )
