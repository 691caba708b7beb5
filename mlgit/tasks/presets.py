"""The datasets of "Model Ratatouille", by name: layout, domains, classes, and how long they are trained.

Reference:
    Ramé et al., "Model Ratatouille", ICML 2023, arXiv:2212.10445; Gulrajani and Lopez-Paz, arXiv:2007.01434.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlgit.errors import NotFoundError, did_you_mean
from mlgit.objects.encoding import JsonValue

_LARGE = 320
"""Decode size of datasets whose originals are far larger than the network's input: enough that no crop is enlarged."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One dataset.

    Attributes:
        name: As the paper writes it.
        kind: A row of ``TASK_KINDS``.
        folders: What its directory may be called, the published name first.
        domains: In string order: the order that splits count in. Empty: whatever is found.
        classes: Names of the classes, in order, where the paper lists them.
        num_classes: How many there are; None: as many as are found.
        images: Domain -> how many images it has, as far as is known for certain.
        options: Options of the kind.
        steps: Updates of a run.
        eval_every: Steps between evaluations.
        note: What to know, for people.
    """

    name: str
    kind: str = "imagefolder"
    folders: tuple[str, ...]
    domains: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    num_classes: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    steps: int = 5001
    eval_every: int = 100
    note: str = ""

    @property
    def task_options(self) -> dict[str, JsonValue]:
        """The options of a new task: those of the preset, with the folders that are domains."""
        named: dict[str, JsonValue] = {"domains": list(self.domains)} if self.kind == "imagefolder" else {}
        return {"image_size": 224, **named, **self.options} if self.kind != "mnist-domains" else dict(self.options)


_TABLE = (
    Preset(
        name="PACS",
        folders=("PACS", "pacs", "kfold"),
        domains=("art_painting", "cartoon", "photo", "sketch"),
        classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
        num_classes=7,
        images={"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
    ),
    Preset(
        name="VLCS",
        folders=("VLCS",),
        domains=("Caltech101", "LabelMe", "SUN09", "VOC2007"),
        classes=("bird", "car", "chair", "dog", "person"),
        num_classes=5,
        images={"Caltech101": 1415, "LabelMe": 2656, "SUN09": 3282, "VOC2007": 3376},
        eval_every=50,
    ),
    Preset(
        name="OfficeHome",
        folders=("office_home", "OfficeHome"),
        domains=("Art", "Clipart", "Product", "Real World"),
        num_classes=65,
        options={"decode_size": _LARGE},
        note="the paper calls the domain 'Real World' Photo",
    ),
    Preset(
        name="TerraIncognita",
        folders=("terra_incognita", "TerraIncognita"),
        domains=("location_100", "location_38", "location_43", "location_46"),
        classes=("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
        num_classes=10,
        options={"decode_size": _LARGE},
    ),
    Preset(
        name="DomainNet",
        folders=("domain_net", "DomainNet"),
        domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
        num_classes=345,
        options={"decode_size": _LARGE},
        steps=15001,
        eval_every=500,
        note="the published protocol leaves out 9,431 duplicates: delete them, or name them in `exclude`",
    ),
    Preset(
        name="SVIRO",
        folders=("sviro", "SVIRO"),
        domains=("aclass", "escape", "hilux", "i3", "lexus", "tesla", "tiguan", "tucson", "x5", "zoe"),
        num_classes=7,
        options={"decode_size": _LARGE},
        eval_every=300,
    ),
    Preset(
        name="Camelyon17",
        kind="wilds",
        folders=("camelyon17_v1.0",),
        domains=("hospital_0", "hospital_1", "hospital_2", "hospital_3", "hospital_4"),
        classes=("normal", "tumor"),
        num_classes=2,
        options={"dataset": "camelyon17", "domain": "hospital"},
        note="the paper counts the hospitals from 1",
    ),
    Preset(
        name="RxRx1",
        kind="wilds",
        folders=("rxrx1_v1.0",),
        domains=("HEPG2", "HUVEC", "RPE", "U2OS"),
        num_classes=1139,
        options={"dataset": "rxrx1", "domain": "cell_type"},
        note="an auxiliary task in the paper; `--set domain=experiment` makes each of the 51 experiments a domain",
    ),
    Preset(
        name="iWildCam",
        kind="wilds",
        folders=("iwildcam_v2.0",),
        domains=("all",),
        options={"dataset": "iwildcam", "domain": "all", "decode_size": _LARGE},
        note="an auxiliary task in the paper; `--set domain=location` makes each camera trap a domain",
    ),
    Preset(
        name="RotatedMNIST",
        kind="mnist-domains",
        folders=("MNIST",),
        domains=("0", "15", "30", "45", "60", "75"),
        num_classes=10,
        options={"variant": "rotated"},
    ),
    Preset(
        name="ColoredMNIST",
        kind="mnist-domains",
        folders=("MNIST",),
        domains=("+80%", "+90%", "-90%"),
        num_classes=2,
        options={"variant": "colored"},
    ),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _TABLE}
"""Name -> preset."""


def find_preset(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        NotFoundError: There is none.
    """
    if name not in PRESETS:
        raise NotFoundError(f"no preset is named '{name}'", kind="unknown-preset", hint=did_you_mean(name, PRESETS))
    return PRESETS[name]


def folder_names(name: str | None) -> tuple[str, ...]:
    """Return what the directory of a preset may be called; nothing for an unknown one."""
    return PRESETS[name].folders if name is not None and name in PRESETS else ()


def deviations(preset: Preset, classes: Sequence[str], images: Mapping[str, int]) -> tuple[str, ...]:
    """Return how data differ from what the paper had, for people.

    Args:
        preset: What should be.
        classes: The classes that were found.
        images: Domain -> how many images were found.
    """
    found = []
    if preset.domains and tuple(images) != preset.domains:
        found.append(f"{preset.name} has the domains {', '.join(preset.domains)}; these are {', '.join(images)}")
    if preset.classes and tuple(classes) != preset.classes:
        found.append(f"{preset.name} has the classes {', '.join(preset.classes)}; these are {', '.join(classes)}")
    elif preset.num_classes is not None and len(classes) != preset.num_classes:
        found.append(f"{preset.name} has {preset.num_classes} classes; these are {len(classes)}")
    found += [
        f"domain '{name}' of {preset.name} has {count:,} images; here are {images[name]:,}"
        for name, count in preset.images.items()
        if name in images and images[name] != count
    ]
    return tuple(found)
