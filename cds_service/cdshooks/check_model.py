"""Does the service fit the model that it names: features, units, operating points, data for each input?"""

from collections.abc import Iterator

from cds_service.cdshooks.catalog_toml import KeyPath
from cds_service.cdshooks.check_data import brings, usually_brings
from cds_service.cdshooks.check_findings import Checked, Finding
from cds_service.clinical.feature_spec import FeatureSet, FeatureSpec

__all__ = ["check_model"]


def check_model(checked: Checked) -> Iterator[Finding]:
    """Everything that can be known only with the bundle at hand."""
    if checked.model is None:
        return
    features = checked.model.features
    named = list(_named(checked))
    for path, name in named:
        if name not in features:
            known = ", ".join(spec.name for spec in features.features)
            yield checked.error(
                path, f"the model '{checked.service.model}' has no feature '{name}'", f"use one of: {known}"
            )
    yield from _rules(checked, features)
    yield from _operating_points(checked)
    outcome = checked.service.outcome
    if outcome is not None and outcome.feature in features and features[outcome.feature].role == "input":
        yield checked.error(
            ("outcome", "feature"),
            f"'{outcome.feature}' is an input of the model: it would judge itself",
            'give it role "condition"',
        )
    wanted = {name for _, name in named}
    for spec in features.features:
        if spec.role == "input" or spec.name in wanted:
            yield from _data(checked, spec)


def _named(checked: Checked) -> Iterator[tuple[KeyPath, str]]:
    service = checked.service
    if service.when.no_recent is not None:
        yield ("when", "no_recent", "feature"), service.when.no_recent.feature
    for name in service.when.require_any:
        yield ("when", "require_any"), name
    for place, rule in enumerate(service.rules):
        yield ("rule", place, "if", "feature"), rule.feature
    if service.outcome is not None:
        yield ("outcome", "feature"), service.outcome.feature


def _rules(checked: Checked, features: FeatureSet) -> Iterator[Finding]:
    for place, rule in enumerate(checked.service.rules):
        if rule.feature not in features:
            continue
        spec, path = features[rule.feature], ("rule", place, "if")
        if rule.unit != spec.unit:
            yield checked.error(
                (*path, "unit"),
                f"the limit is in {rule.unit}, but '{spec.name}' is reported in {spec.unit}",
                f"write it in {spec.unit}",
            )
        for key, limit in (("at_least", rule.at_least), ("or_fasting_at_least", rule.or_fasting_at_least)):
            if limit is not None and spec.plausible and not spec.plausible[0] <= limit <= spec.plausible[1]:
                yield checked.error(
                    (*path, key), f"no plausible {spec.name} is near {limit:g}", "mend the limit or its unit"
                )
        fasting = any(one.origin == "fasting_state" and one.fasting_of == spec.name for one in features.features)
        if rule.or_fasting_at_least is not None and not fasting:
            yield checked.error(
                (*path, "or_fasting_at_least"),
                f"nothing tells whether {spec.name} was fasting",
                "remove it, or declare a fasting_state",
            )


def _operating_points(checked: Checked) -> Iterator[Finding]:
    card, points = checked.service.card, checked.model.operating_points if checked.model else frozenset()
    known = f"use one of: {', '.join(sorted(points))}"
    if card.show_from not in points:
        yield checked.error(("card", "show_from"), f"the model has no operating point '{card.show_from}'", known)
    elif card.show_from not in card.indicator:
        yield checked.error(("card", "indicator"), f"no indicator is given for '{card.show_from}'", "write it")
    for point in card.indicator:
        if point not in points:
            yield checked.error(("card", "indicator", point), f"the model has no operating point '{point}'", known)


def _data(checked: Checked, spec: FeatureSpec) -> Iterator[Finding]:
    kind = {"observation": "Observation", "patient.age": "Patient", "patient.sex": "Patient"}.get(spec.origin)
    if kind is None:
        return
    keys = [key for key in checked.service.prefetch if key.resource_type == kind]
    if not keys:
        yield checked.error(
            ("prefetch",), f"no prefetch key brings {kind}, which '{spec.name}' needs", f"declare a key for {kind}"
        )
        return
    missing = sorted(code for code in spec.codes if not any(brings(key, code) for key in keys))
    unusual = sorted(code for code in spec.codes if not any(usually_brings(key, code) for key in keys))
    for say, codes, verb in ((checked.error, missing, "brings"), (checked.warning, unusual, "usually brings")):
        if codes and kind == "Observation":
            more = f" and {len(codes) - 1} more" if len(codes) > 1 else ""
            yield say(
                ("prefetch",),
                f"no prefetch query {verb} {codes[0]}{more} of feature '{spec.name}'",
                "ask for it in a query",
            )
            return
