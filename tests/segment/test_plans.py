"""What `plans.json` says, against nnU-Net's own reading of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ModelError
from pipeline.segment.models import Model
from pipeline.segment.plans import plans_of, separate_axis

spacings = st.tuples(*[st.sampled_from([0.7, 0.75, 1.0, 2.0, 2.5, 5.0, 6.0])] * 3)


def contents(model: Model) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads((model.folder / "plans.json").read_text()), json.loads(
        (model.folder / "dataset.json").read_text()
    )


@given(forced=st.sampled_from([None, True, False]), first=spacings, second=spacings)
def test_the_separate_axis_is_the_one_that_nnunet_finds(
    forced: bool | None, first: tuple[float, ...], second: tuple[float, ...]
):
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    is_separate, axis = determine_do_sep_z_and_axis(forced, first, second)
    assert separate_axis(forced, first, second) == (axis if is_separate else None)


@given(shape=st.tuples(*[st.integers(1, 600)] * 3), spacing_mm=spacings)
def test_shapes_are_those_that_nnunet_computes(
    demo_model: Model, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
):
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

    plans, dataset = contents(demo_model)
    ours = plans_of({**plans, "transpose_forward": [2, 0, 1]}, dataset, "3d_small", name="demo")
    turned = [[triple[axis] for axis in (2, 0, 1)] for triple in (shape, spacing_mm)]
    expected = compute_new_shape(*turned, ours.spacing_mm(spacing_mm))
    assert ours.shape_of(shape, spacing_mm) == tuple(max(1, int(size)) for size in expected)


def test_a_configuration_takes_from_its_parents_what_it_does_not_say(demo_model: Model):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans, dataset = contents(demo_model)
    plans["configurations"]["child"] = {"inherits_from": "3d_small", "batch_size": 9}
    plans["configurations"]["grandchild"] = {"inherits_from": "child", "spacing": [2.0, 2.0, 2.0]}
    ours = plans_of(plans, dataset, "grandchild", name="demo")
    assert ours.configuration == PlansManager(plans).get_configuration("grandchild").configuration
    assert ours.spacing_mm((5.0, 1.0, 1.0)) == [2.0, 2.0, 2.0]


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans")
def test_plans_of_old_name_the_same_network(demo_model: Model):
    plans, dataset = contents(demo_model)
    (configuration,) = plans["configurations"].values()
    arguments = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 8,
        "unet_max_num_features": 64,
        "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
        "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [3, 3, 3],
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
    }
    found = plans_of(plans, dataset, "3d_small", name="old").configuration["architecture"]["arch_kwargs"]
    assert {key: found[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("labels", "order", "heads"),
    [
        ({"background": 0, "liver": 1, "lesion": 2}, None, 3),
        ({"background": 0, "liver": 1, "lesion": 2, "ignore": 3}, None, 3),
        ({"background": 0, "whole_liver": [1, 2], "lesion": 2}, [1, 2], 2),
        ({"background": 0, "whole_liver": [1, 2], "lesion": [2], "ignore": 3}, [1, 2], 2),
    ],
)
def test_a_network_has_as_many_heads_as_nnunet_gives_it(
    demo_model: Model, labels: dict[str, Any], order: list[int] | None, heads: int
):
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    plans, dataset = contents(demo_model)
    dataset |= {"labels": labels, "regions_class_order": order}
    assert plans_of(plans, dataset, "3d_small", name="demo").heads == heads
    assert LabelManager(labels, order).num_segmentation_heads == heads


@pytest.mark.parametrize(
    ("change", "message"),
    [({"previous_stage": "3d_lowres"}, "cascade"), ({"preprocessor_name": "OwnPreprocessor"}, "OwnPreprocessor")],
)
def test_networks_that_are_fed_in_another_way_are_refused(demo_model: Model, change: dict[str, str], message: str):
    plans, dataset = contents(demo_model)
    plans["configurations"]["3d_small"] |= change
    with pytest.raises(ModelError, match=message):
        plans_of(plans, dataset, "3d_small", name="demo")
