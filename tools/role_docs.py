#!/usr/bin/env python3
"""Write each role's README.md from its argument specs, so that the two cannot disagree."""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = "realtime.flask_socketio"
NOTE = "<!-- Written by `make docs` from meta/argument_specs.yml: edit that file instead. -->"

Options = dict[str, dict[str, Any]]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def paragraphs(text: str | list[str] | None) -> list[str]:
    parts = [text] if isinstance(text, str) else text or []
    return [markup(part.strip()) for part in parts]


def markup(text: str) -> str:
    """Turn Ansible's documentation markup into Markdown."""
    text = re.sub(r"\b[COVE]\(([^)]*)\)", r"`\1`", text)
    text = re.sub(r"\bM\(([^)]*)\)", r"`\1`", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)
    return re.sub(r"\bL\(([^,)]*),\s*([^)]*)\)", r"[\1](\2)", text)


def code(value: Any) -> str:
    """A value as inline code, as one would write it in YAML."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def flat(options: Options, parent: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option, those of dictionaries right after their parent."""
    for name, option in options.items():
        yield parent + name, option
        inside = "[]." if option.get("type") == "list" else "."
        yield from flat(option.get("options", {}), f"{parent}{name}{inside}")


def row(name: str, option: dict[str, Any]) -> str:
    kind = option.get("type", "str")
    if "elements" in option:
        kind += f" of {option['elements']}"
    default = code(option["default"]) if "default" in option else ""
    meaning = paragraphs(option.get("description"))
    if "choices" in option:
        meaning.append(f"One of {', '.join(code(choice) for choice in option['choices'])}.")
    columns = [
        f"`{name}`",
        kind,
        "**required**" if option.get("required") else default,
        "<br>".join(meaning),
    ]
    return f"| {' | '.join(cell(column) for column in columns)} |"


def table(options: Options) -> list[str]:
    head = ["| Variable | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    return [*head, *(row(name, option) for name, option in flat(options)), ""]


def entry_point(name: str, spec: dict[str, Any], shown: dict[str, Options]) -> list[str]:
    """One section. What an earlier entry point's table says already is named, not repeated."""
    title = spec.get("short_description", "").rstrip(".")
    lines = [f"### {name}", "", *([f"{markup(title)}.", ""] if title else [])]
    for paragraph in paragraphs(spec.get("description")):
        lines += [paragraph, ""]
    left: Options = dict(spec.get("options") or {})
    if not left:
        return [*lines, "No options.", ""]
    for earlier, options in shown.items():
        same = [key for key, option in left.items() if options.get(key) == option]
        if not same:
            continue
        link = f"[{earlier}](#{earlier})"
        if len(same) == len(options):
            lines += [f"Takes the options of {link}.", ""]
        else:
            lines += [f"Takes from {link}: {', '.join(f'`{key}`' for key in same)}.", ""]
        left = {key: option for key, option in left.items() if key not in same}
    return [*lines, *(table(left) if left else [])]


def readme(role: Path) -> str:
    """The text of README.md for one role directory."""
    specs = (load(role / "meta" / "argument_specs.yml") or {}).get("argument_specs", {})
    galaxy = (load(role / "meta" / "main.yml") or {}).get("galaxy_info", {})
    lines = [NOTE, "", f"# {COLLECTION}.{role.name}", ""]
    lines += [*(line for text in paragraphs(galaxy.get("description")) for line in (text, ""))]
    if role.name.startswith("_"):
        lines += ["Internal: other roles of this collection use it, playbooks do not.", ""]
    example = role / "EXAMPLE.yml"
    if example.exists():
        text = example.read_text(encoding="utf-8").removeprefix("---\n").strip()
        lines += ["## Example", "", "```yaml", text, "```", ""]
    lines += ["## Entry points", ""]
    shown: dict[str, Options] = {}
    for name in sorted(specs, key=lambda name: name != "main"):
        spec = specs[name] or {}
        lines += entry_point(name, spec, shown)
        shown[name] = dict(spec.get("options") or {})
    return "\n".join(lines).rstrip() + "\n"


def roles_in(roles: Path) -> list[Path]:
    return sorted(role for role in roles.iterdir() if (role / "tasks").is_dir())


def stale(roles: Path) -> list[Path]:
    """The roles whose README is not what their spec says."""
    return [
        role
        for role in roles_in(roles)
        if not (role / "README.md").exists()
        or (role / "README.md").read_text(encoding="utf-8") != readme(role)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    parser.add_argument("roles", nargs="?", type=Path, default=ROOT / "roles")
    arguments = parser.parse_args()
    old = stale(arguments.roles)
    for role in old:
        if arguments.check:
            print(f"{role.name}/README.md differs from its spec: run `make docs`")
        else:
            (role / "README.md").write_text(readme(role), encoding="utf-8")
            print(f"wrote {role.name}/README.md")
    return 1 if arguments.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
