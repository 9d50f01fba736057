"""The keys that the configurations of TRL, Axolotl and LLaMA-Factory may have, with their defaults: src/config/import/known/*.txt.

    python scripts/interop/known_keys.py --sources SOURCES

The fields of TRL's DPO script are those of the installed packages (requirements.txt pins them). SOURCES has the rest: the folders
`axolotl`, `LLaMA-Factory` and `alignment-handbook`, each a checkout, and `wheels` with the older releases of trl and transformers
that OLDER names (`pip download --no-deps`), whose fields TRL has dropped since. Of these nothing is imported: their classes are
parsed. A line is a key, and its default where it is a constant; a list's or a table's own keys stand behind a dot.
"""

import argparse
import ast
import dataclasses
import json
import sys
import zipfile
from pathlib import Path

import sides

KNOWN = sides.ROOT / "src/config/import/known"
OLDER = ["trl-0.9.6", "trl-0.12.2", "trl-0.16.1", "trl-0.19.1", "trl-0.24.0", "transformers-4.46.3", "transformers-4.57.3"]
OLDER_FILES = ("trl/trainer/dpo_config.py", "trl/trainer/model_config.py", "trl/commands/cli_utils.py", "trl/scripts/utils.py",
               "trl/utils.py", "transformers/training_args.py")
OLDER_CLASSES = {"DPOConfig", "ModelConfig", "DPOScriptArguments", "ScriptArguments", "TrainingArguments"}


def constant(node):
    """The default of a field as JSON; none where it is not a constant."""
    if isinstance(node, ast.Call):
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if "default" in named:
            return constant(named["default"])
        if isinstance(named.get("default_factory"), ast.Lambda):
            return constant(named["default_factory"].body)
        return constant(node.args[0]) if node.args else None
    try:
        value = ast.literal_eval(node)
        return None if value is Ellipsis or value is None else json.dumps(value)
    except (ValueError, TypeError):
        # An enum's member stands for its value.
        return None


def aliases(node):
    """Other names that pydantic reads a field by."""
    if not isinstance(node, ast.Call):
        return []
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("alias", "validation_alias")]
    return [constant.value for value in named for constant in ast.walk(value) if isinstance(constant, ast.Constant)]


def classes(text):
    """The classes of a source file: name -> (bases, {field: default})."""
    found = {}
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]
        fields = {}
        for line in node.body:
            if not isinstance(line, ast.AnnAssign) or line.target.id.startswith("_") or line.target.id == "model_config":
                continue
            is_init = not (isinstance(line.value, ast.Call) and any(k.arg == "init" and not ast.literal_eval(k.value) for k in line.value.keywords))
            if is_init and "ClassVar" not in ast.unparse(line.annotation):
                default = None if line.value is None else constant(line.value)
                fields |= dict.fromkeys([line.target.id, *aliases(line.value)], default)
        found[node.name] = (bases, fields)
    return found


def fields_of(name, known):
    """A class's own fields and those of its bases."""
    if name not in known:
        return {}
    bases, own = known[name]
    inherited = {}
    for base in reversed(bases):
        inherited |= fields_of(base, known)
    return inherited | own


def inside(key, fields):
    return {f"{key}.{name}": default for name, default in fields.items()}


def installed(cls):
    """The fields of a dataclass that is imported."""
    def default(field):
        value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        value = getattr(value, "value", value)
        return None if value is dataclasses.MISSING or value is None or dataclasses.is_dataclass(value) else json.dumps(value)
    return {field.name: default(field) for field in dataclasses.fields(cls) if field.init}


def of_trl():
    import trl
    from trl.scripts.utils import DatasetConfig
    fields = {}
    for cls in (trl.ScriptArguments, trl.DPOConfig, trl.ModelConfig, trl.DatasetMixtureConfig):
        fields |= installed(cls)
    return fields | inside("datasets", installed(DatasetConfig))


def of_older_trl(sources, now):
    fields = {}
    for release in OLDER:
        wheel = zipfile.ZipFile(next((sources / "wheels").glob(f"{release}-*.whl")))
        for path in set(OLDER_FILES) & set(wheel.namelist()):
            for name, (_, own) in classes(wheel.read(path).decode()).items():
                if name in OLDER_CLASSES:
                    fields |= own
    handbook = classes((sources / "alignment-handbook/src/alignment/configs.py").read_text())
    for name in ("ScriptArguments", "DPOConfig", "SFTConfig", "ORPOConfig"):
        fields |= handbook.get(name, ([], {}))[1]
    # Fields of the handbook's releases before its last, which its recipes still have.
    fields |= {"dataset_mixer": None, "dataset_splits": None, "dataset_configs": None}
    fields |= inside("dataset_mixture", fields_of("DatasetMixtureConfig", handbook))
    fields |= inside("dataset_mixture.datasets", fields_of("DatasetConfig", handbook))
    return {name: default for name, default in fields.items() if name not in now}


def parsed(folder):
    known = {}
    for path in sorted(folder.rglob("*.py")):
        known |= classes(path.read_text())
    return known


def of_axolotl(sources):
    source = sources / "axolotl/src/axolotl"
    known = parsed(source / "utils/schemas")
    fields = fields_of("AxolotlInputConfig", known)
    for path in sorted((source / "integrations").glob("*/args.py")):
        for name, (bases, own) in classes(path.read_text()).items():
            if name.endswith(("Args", "Config")):
                fields |= own
    for name in ("SFTDataset", "DPODataset"):
        fields |= inside("datasets", known[name][1])
        fields |= inside("test_datasets", known[name][1])
    fields |= inside("datasets.type", known["UserDefinedDPOType"][1])
    fields |= inside("trl", known["TRLConfig"][1])
    return fields | inside("special_tokens", known["SpecialTokensConfig"][1])


def of_llama_factory(sources):
    source = sources / "LLaMA-Factory/src/llamafactory/hparams"
    known = parsed(source)
    fields = {}
    for name in ("ModelArguments", "DataArguments", "TrainingArguments", "FinetuningArguments", "GeneratingArguments"):
        fields |= fields_of(name, known)
    from transformers import Seq2SeqTrainingArguments
    # It runs with transformers 4 and 5, whose fields differ.
    wheel = zipfile.ZipFile(next((sources / "wheels").glob(f"{OLDER[-1]}-*.whl")))
    older = classes(wheel.read("transformers/training_args.py").decode())["TrainingArguments"][1]
    fields = older | installed(Seq2SeqTrainingArguments) | fields
    return fields


def write(name, heading, fields):
    lines = [f"# {heading}", "# Made by scripts/interop/known_keys.py."]
    lines += [key if default is None else f"{key} = {default}" for key, default in sorted(fields.items())]
    (KNOWN / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(f"{name}: {len(fields)} keys")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder of the checkouts and of `wheels`")
    parser.add_argument("--axolotl-commit", default="067b021", help="commit of the checkout, for the heading")
    parser.add_argument("--llama-factory-commit", default="ff6d4d1", help="the same of LLaMA-Factory")
    options = parser.parse_args()
    versions = sides.check_versions()
    KNOWN.mkdir(parents=True, exist_ok=True)
    trl = of_trl()
    both = f"TRL {versions['trl']} with transformers {versions['transformers']}"
    write("trl", f"Fields of the DPO script of {both}, each with its default.", trl)
    older = of_older_trl(options.sources, trl)
    write("trl_older", f"Fields of earlier releases ({', '.join(OLDER)}) and of alignment-handbook that {both} has no longer.", older)
    write("axolotl", f"Fields of Axolotl's configuration at {options.axolotl_commit}, each with its default.", of_axolotl(options.sources))
    fields = of_llama_factory(options.sources)
    write("llama_factory", f"Fields of LLaMA-Factory's arguments at {options.llama_factory_commit} with {OLDER[-1]} and {versions['transformers']}.", fields)


if __name__ == "__main__":
    sys.exit(main())
