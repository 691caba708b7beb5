"""The recipes of the paper."""

from __future__ import annotations

from mlgit.recipes.recipe import Recipe, Selection

_RATATOUILLE = "Ramé et al. 2023, arXiv:2212.10445"
_AVERAGED = (Selection.UNIFORM, Selection.GREEDY, Selection.ALL_SPLITS)

PROBE = Recipe(
    name="probe",
    title="Linear probe",
    reference="Kumar et al. 2022, arXiv:2202.10054",
    summary="only the classifier is trained; where every other recipe begins",
    family=None,
    selections=(Selection.BEST,),
)
VANILLA = Recipe(
    name="vanilla",
    title="Vanilla fine-tuning",
    reference="Gulrajani and Lopez-Paz 2021, arXiv:2007.01434",
    summary="the best of several fine-tunings",
    family="plain",
    selections=(Selection.BEST,),
)
MOVING_AVERAGE = Recipe(
    name="moving-average",
    title="Moving average",
    reference="Arpit et al. 2022, arXiv:2110.10832",
    summary="the best of the means along each run",
    family="plain",
    average="moving",
    selections=(Selection.BEST,),
)
SWAD = Recipe(
    name="swad",
    title="SWAD",
    reference="Cha et al. 2021, arXiv:2102.08604",
    summary="the best of the means over each run's window of low loss",
    family="plain",
    average="swad",
    selections=(Selection.BEST,),
)
CORAL = Recipe(
    name="coral",
    title="CORAL",
    reference="Sun and Saenko 2016, arXiv:1607.01719",
    summary="the best of several fine-tunings that align the features of domains",
    family="coral",
    selections=(Selection.BEST,),
)
WISE = Recipe(
    name="wise",
    title="WiSE fine-tuning",
    reference="Wortsman et al. 2022, arXiv:2109.01903",
    summary="the best fine-tuning, moved back towards the linear probe",
    family="plain",
    selections=(Selection.INTERPOLATED,),
)
ENSEMBLE = Recipe(
    name="ensemble",
    title="Ensemble",
    reference="Lakshminarayanan et al. 2017, arXiv:1612.01474",
    summary="the mean of the predictions of all fine-tunings",
    family="plain",
    ensemble=True,
    selections=(Selection.UNIFORM,),
)
SOUP = Recipe(
    name="soup",
    title="Model soups",
    reference="Wortsman et al. 2022, arXiv:2203.05482; Ramé et al. 2022, arXiv:2205.09739",
    summary="the mean of the weights of several fine-tunings",
    family="plain",
    selections=_AVERAGED,
)
INTER_TRAINING = Recipe(
    name="inter-training",
    title="Inter-training",
    reference="Phang et al. 2018, arXiv:1811.01088",
    summary="the best of several fine-tunings that begin at auxiliary ones",
    family="inter",
    selections=(Selection.BEST,),
)
ENSEMBLE_INTER_TRAINING = Recipe(
    name="ensemble-inter-training",
    title="Ensemble of inter-training",
    reference=_RATATOUILLE,
    summary="the mean of the predictions of the fine-tunings that begin at auxiliary ones",
    family="inter",
    ensemble=True,
    selections=(Selection.UNIFORM,),
)
FUSING = Recipe(
    name="fusing",
    title="Fusing",
    reference="Choshen et al. 2022, arXiv:2204.03044",
    summary="the best of several fine-tunings that begin at random mixtures of auxiliary ones",
    family="fused",
    selections=(Selection.BEST,),
)
RATATOUILLE = Recipe(
    name="ratatouille",
    title="Model ratatouille",
    reference=_RATATOUILLE,
    summary="the mean of the weights of fine-tunings that begin at different auxiliary ones",
    family="inter",
    selections=_AVERAGED,
)
ROBUST_INTER_TRAINING = Recipe(
    name="robust-inter-training",
    title="Robust inter-training",
    reference=f"{_RATATOUILLE}, appendix E",
    summary="inter-training from the means along the auxiliary runs",
    family="robust",
    selections=(Selection.BEST,),
)
ROBUST_RATATOUILLE = Recipe(
    name="robust-ratatouille",
    title="Robust model ratatouille",
    reference=f"{_RATATOUILLE}, appendix E",
    summary="ratatouille from the means along the auxiliary runs",
    family="robust",
    selections=_AVERAGED,
)
