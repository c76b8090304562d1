"""`croissant.json`: the shard directory for tools that read MLCommons Croissant 1.1.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

import json
from typing import Any

import pyarrow as pa

from slvr.shards.columns import Column
from slvr.shards.manifest import Manifest
from slvr.shards.rows import CLIPS, COLUMNS

CROISSANT = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.1"

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {
    term: f"cr:{term}"
    for term in (
        *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract"),
        *("field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray"),
        *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
        *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source"),
        *("subField", "transform"),
    )
}
"""The specification's own, whole: readers warn about one that lacks a term."""


def croissant(manifest: Manifest) -> str:
    """The text of `croissant.json`; equal manifests give equal text.

    The table of clips is a record set that Croissant's tools read; the tars and the audio in them
    are described as files. `datePublished` and `creator` are left out: nobody has published the
    directory, and a date would make two equal builds differ.
    """
    archives = [shard.name for shard in manifest.shards]
    about = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": manifest.name,
        "description": (
            f"Data set {manifest.recipe} as WebDataset shards: {manifest.codec} audio of "
            f"{manifest.sample_rate_hz} Hz, mono, 16 bit, and a table with a row for every clip "
            "that was asked for, whether it could be had or not."
        ),
        "license": manifest.licence,
        "citeAs": manifest.citation,
        "url": manifest.homepage,
        "version": manifest.recipe_version,
        "isBasedOn": [
            {"@type": "sc:CreativeWork", "name": name, "identifier": f"sha256:{digest}"}
            for name, digest in sorted(manifest.derived_from.items())
        ],
    }
    files: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": CLIPS,
            "name": CLIPS,
            "description": "One row for every clip that was asked for.",
            "contentUrl": CLIPS,
            "encodingFormat": "application/x-parquet",
            "sha256": manifest.clips_sha256,
        }
    ]
    files += [
        {
            "@type": "cr:FileObject",
            "@id": shard.name,
            "name": shard.name,
            "description": f"{shard.n} clips of split {shard.split}, one .json beside each.",
            "contentUrl": shard.name,
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in manifest.shards
    ]
    if archives:
        files.append(
            {
                "@type": "cr:FileSet",
                "@id": "audio",
                "name": "audio",
                "description": "The clips' audio, <key> is the file's name.",
                "containedIn": [{"@id": name} for name in archives],
                "encodingFormat": f"audio/{manifest.codec}",
                "includes": f"*.{manifest.codec}",
            }
        )
    clips = {
        "@type": "cr:RecordSet",
        "@id": "clips",
        "name": "clips",
        "description": "Every clip that was asked for; status is ok, or says why it is not there.",
        "key": {"@id": "clips/key"},
        "field": [_field(column) for column in COLUMNS],
    }
    stated = {name: value for name, value in about.items() if value}
    described = stated | {"distribution": files, "recordSet": [clips]}
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _field(column: Column, parent: Column | None = None) -> dict[str, Any]:
    """A column of the table as a field of its record set; `parent` is the list that it is in."""
    path = column.name if parent is None else f"{parent.name}/{column.name}"
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"clips/{path}",
        "name": column.name,
        "description": column.description,
    }
    is_list = pa.types.is_list(column.type)
    if is_list:
        field |= {"isArray": True, "arrayShape": "-1"}
    if column.items:
        return field | {"subField": [_field(item, column) for item in column.items]}
    value = column.type.value_type if is_list else column.type
    data_type = {pa.string(): "sc:Text", pa.float64(): "sc:Float"}.get(value, "sc:Integer")
    source: dict[str, Any] = {"fileObject": {"@id": CLIPS}}
    if parent is None:
        source["extract"] = {"column": column.name}
    else:
        source["extract"] = {"column": parent.name}
        source["transform"] = {"jsonPath": column.name}  # of each of its items
    return field | {"dataType": data_type, "source": source}
