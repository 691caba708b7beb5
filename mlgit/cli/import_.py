"""``mlgit import``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import TrustCode


def import_(
    context: Context,
    source: Annotated[str, typer.Argument(help="A file, a model directory, or a factory: `torchvision:resnet50`.")],
    *,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why; by default `import SOURCE`.")] = None,
    factory: Annotated[
        str | None, typer.Option("--factory", help="How to build the module of weights in files.")
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="Classifier's linear layer, by name. Default: the last linear layer.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Of a factory: `default`, `none` (random), a published name or a FILE."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of random weights.")] = 0,
    num_classes: Annotated[int | None, typer.Option("--num-classes", help="Outputs of a factory's classifier.")] = None,
    trust_code: TrustCode = False,
) -> None:
    """Bring a model in from outside, as a pretrained commit.

    SOURCE is a `.safetensors` file, a `.pt`, `.pth` or `.bin` file that holds tensors only, a Hugging Face style
    directory, or a factory: `torchvision:NAME`, `timm:NAME`, `transformers:TYPE`, `mlgit:digits-cnn` or
    `python:module:callable`. A factory takes arguments, as in `torchvision:vit_b_16?image_size=32`.
    """
    from mlgit.porcelain.import_ import ImportOptions, import_model

    repository, output = context.repository(), context.output
    options = ImportOptions(
        factory=factory, head=head, weights=weights, seed=seed, num_classes=num_classes, trust_code=trust_code
    )
    found = import_model(
        repository, source, message, options=options, actor=context.actor(repository), progress=context.progress
    )
    output.line(Styled(found.id.short, "id"), f" {found.tensors} tensors, ", found.commit.subject)
    if found.new_head:
        output.note("the source has no classifier: it got a new one, with random weights")
    for item in found.skipped:
        output.note("left out: ", item)
