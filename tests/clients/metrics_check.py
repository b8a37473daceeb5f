"""Reads an exposition from standard input with the parser of Prometheus' own client, and says what it holds as JSON."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    # The parser checks syntax, types, suffixes and the order of buckets; this is what it leaves to others.
    assert family.name.startswith("portcullis_"), family.name
    assert family.documentation, f"{family.name} says nothing of itself"
    seen = set()
    for sample in family.samples:
        place = (sample.name, tuple(sorted(sample.labels.items())))
        assert place not in seen, f"{place} is there twice"
        seen.add(place)
    families[family.name] = {"type": family.type, "samples": len(family.samples)}
print(json.dumps(families))
