"""Spec, defaults, README and names agree, and stop agreeing when one of them is edited alone.

Every check is a function of a directory that returns the problems it found. The negative
controls run the same functions over a small collection with one side edited.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import role_docs
import yaml

ROOT = Path(__file__).resolve().parents[2]

Check = Callable[[Path], list[str]]

CODE_DIRS = ("defaults", "files", "handlers", "tasks", "templates", "vars")
# Spelt so that this file does not find itself.
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
MACHINE_PATH = re.compile(r"(?<![\w.}/~-])/(?:work|root)/")
A_NOTE, A_PATH = "todo".upper(), "/root{}".format("/")
SWALLOWED = re.compile(r"^\s*(?:- )?(?:ignore_errors:|failed_when:\s*(?:false|no)\b)", re.I | re.M)

# Only between double quotes is it a newline.
NO_NEWLINE = re.compile(r"^(?!.*: \"\{\{).*join\('\\n'\)", re.M)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None


def exact(value: Any) -> str:
    """Text that tells 1, true and "1" apart."""
    return json.dumps(value, sort_keys=True)


def entry_points(role: Path) -> dict[str, dict[str, Any]]:
    spec = load(role / "meta" / "argument_specs.yml") or {}
    found = spec.get("argument_specs") or {}
    return {name: (entry or {}).get("options") or {} for name, entry in found.items()}


def code_files(role: Path) -> Iterator[Path]:
    for directory in CODE_DIRS:
        yield from (p for p in sorted((role / directory).rglob("*")) if p.is_file())


def tracked(root: Path) -> list[Path]:
    """The text files git tracks or would track, without what others wrote or a tool made."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    paths = [root / name for name in sorted(set(listed.split("\0"))) if name]
    return [
        path
        for path in paths
        if path.is_file()
        and "vendor" not in path.parts
        and path.name not in {"LICENSE", "package-lock.json", "requirements.lock"}
        and b"\0" not in path.read_bytes()
    ]


def found_lines(root: Path, pattern: re.Pattern[str], *suffixes: str) -> list[str]:
    problems = []
    for path in tracked(root):
        if suffixes and path.suffix not in suffixes:
            continue
        text = path.read_text(encoding="utf-8")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.end()) + 1
            problems.append(f"{path.relative_to(root)}:{line}: {match.group().strip()}")
    return problems


def spec_against_defaults(roles: Path) -> list[str]:
    problems = []
    for role in role_docs.roles_in(roles):
        specs, defaults = entry_points(role), load(role / "defaults" / "main.yml") or {}
        spec = role / "meta" / "argument_specs.yml"
        # One of variables alone takes none.
        if spec.exists() and not specs and not defaults:
            continue
        if "main" not in specs:
            problems.append(f"{role.name}: no argument spec for main")
            continue
        documented = {name for name, option in specs["main"].items() if "default" in option}
        problems += [
            f"{role.name}: {name} has a default, but not in the spec of main"
            for name in sorted(defaults.keys() - documented)
        ]
        for entry, options in specs.items():
            for name, option in options.items():
                where = f"{role.name}: {name} ({entry})"
                if option.get("required") and "default" in option:
                    problems.append(f"{where} is required, yet its spec gives a default")
                elif "default" not in option:
                    continue
                elif name not in defaults:
                    problems.append(f"{where} has a default in the spec only")
                elif exact(option["default"]) != exact(defaults[name]):
                    wanted, given = exact(option["default"]), exact(defaults[name])
                    problems.append(f"{where} is {wanted} in the spec, {given} in the defaults")
    return problems


def entry_points_against_tasks(roles: Path) -> list[str]:
    problems = []
    for role in role_docs.roles_in(roles):
        for entry in entry_points(role):
            if not (role / "tasks" / f"{entry}.yml").exists():
                problems.append(f"{role.name}: the spec has {entry}, tasks/ has not")
    return problems


def names_carry_the_prefix(roles: Path) -> list[str]:
    problems = []
    for role in role_docs.roles_in(roles):
        names = set(load(role / "defaults" / "main.yml") or {})
        names.update(*entry_points(role).values())
        problems += [
            f"{role.name}: {name} lacks the prefix {role.name}_"
            for name in sorted(names)
            if not name.startswith(f"{role.name}_")
        ]
    return problems


def options_are_used(roles: Path) -> list[str]:
    problems = []
    for role in role_docs.roles_in(roles):
        text = "\n".join(p.read_text(encoding="utf-8") for p in code_files(role))
        # A name's own line in defaults/main.yml is no use of it.
        used = set(re.findall(r"\b\w+\b(?!:)", re.sub(r"^\w+:", "", text, flags=re.M)))
        options = {name for entry in entry_points(role).values() for name in entry}
        problems += [f"{role.name}: nothing reads {name}" for name in sorted(options - used)]
    return problems


def internals_are_defined(roles: Path) -> list[str]:
    """An internal is `__<role>_x`, without the hyphen-like underscore of an internal role."""
    problems = []
    found = role_docs.roles_in(roles)
    prefixes = {f"__{role.name.lstrip('_')}_": role.name for role in found}
    for role in found:
        files = [p for p in code_files(role) if p.suffix in {".yml", ".j2"}]
        text = "\n".join(p.read_text(encoding="utf-8") for p in files)
        defined = set(re.findall(r"^\s*(?:- )?(__\w+):", text, re.M))
        defined.update(re.findall(r"\b(?:register|loop_var|index_var): *(__\w+)", text))
        defined.update(re.findall(r"{%-?\+? *(?:set|for) +(__\w+)", text))
        for name in sorted(set(re.findall(r"(?<!\w)__\w+", text))):
            owner = next((r for prefix, r in prefixes.items() if name.startswith(prefix)), None)
            if owner is None:
                continue
            if owner != role.name:
                problems.append(f"{role.name}: {name} belongs to the role {owner}")
            elif name not in defined:
                problems.append(f"{role.name}: {name} is defined nowhere")
    return problems


def readmes_are_current(roles: Path) -> list[str]:
    stale = role_docs.stale(roles)
    return [f"{role.name}: README.md is not what `make docs` writes" for role in stale]


def versions_agree(root: Path) -> list[str]:
    galaxy, changelog = load(root / "galaxy.yml"), load(root / "changelogs" / "changelog.yaml")
    if not galaxy or not (changelog or {}).get("releases"):
        return []
    newest = max(changelog["releases"], key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    if galaxy["version"] == newest:
        return []
    return [f"galaxy.yml has version {galaxy['version']}, the changelog ends at {newest}"]


def nothing_unfinished(root: Path) -> list[str]:
    return found_lines(root, UNFINISHED)


def no_machine_paths(root: Path) -> list[str]:
    return found_lines(root, MACHINE_PATH)


def no_swallowed_failures(root: Path) -> list[str]:
    return found_lines(root, SWALLOWED, ".yml", ".yaml")


def newlines_are_newlines(root: Path) -> list[str]:
    return found_lines(root, NO_NEWLINE, ".yml", ".yaml")


ROLE_CHECKS: list[Check] = [
    spec_against_defaults,
    entry_points_against_tasks,
    names_carry_the_prefix,
    options_are_used,
    internals_are_defined,
    readmes_are_current,
]
TREE_CHECKS: list[Check] = [
    versions_agree,
    nothing_unfinished,
    no_machine_paths,
    no_swallowed_failures,
    newlines_are_newlines,
]


def problems_of(check: Check, root: Path) -> list[str]:
    return check(root / "roles" if check in ROLE_CHECKS else root)


@pytest.mark.parametrize("check", [*ROLE_CHECKS, *TREE_CHECKS])
def test_this_collection(check: Check) -> None:
    assert problems_of(check, ROOT) == []


def test_there_are_roles_to_check() -> None:
    assert role_docs.roles_in(ROOT / "roles")


SMALL = {
    "galaxy.yml": "version: 1.10.0\n",
    "changelogs/changelog.yaml": "releases:\n  1.9.0: {}\n  1.10.0: {}\n",
    "roles/door/meta/main.yml": "galaxy_info:\n  description: A door.\n",
    "roles/door/meta/argument_specs.yml": """
argument_specs:
  main:
    short_description: Hang the door
    options: &options
      door_name:
        description: What is written on it.
        required: true
      door_width:
        type: int
        default: 80
        description: In centimetres.
      door_label:
        default: "{{ door_name }}"
        description: As written.
  open:
    short_description: Open the door
    options: *options
""",
    "roles/door/defaults/main.yml": 'door_width: 80\ndoor_label: "{{ door_name }}"\n',
    "roles/door/tasks/main.yml": """
- name: Hang
  ansible.builtin.debug:
    msg: "{{ __door_text }}"
""",
    "roles/door/tasks/open.yml": "- name: Open\n  ansible.builtin.ping:\n",
    "roles/door/vars/main.yml": "__door_text: '{{ door_label }} {{ door_width }}'\n",
    "roles/_hinge/meta/argument_specs.yml": "argument_specs:\n  main: {}\n",
    "roles/_hinge/tasks/main.yml": "- name: Turn\n  ansible.builtin.ping:\n",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, text in SMALL.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for role in role_docs.roles_in(tmp_path / "roles"):
        (role / "README.md").write_text(role_docs.readme(role), encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("check", [*ROLE_CHECKS, *TREE_CHECKS])
def test_the_small_collection_is_in_order(small: Path, check: Check) -> None:
    assert problems_of(check, small) == []


DEFAULTS = "roles/door/defaults/main.yml"
SPEC = "roles/door/meta/argument_specs.yml"
TASKS = "roles/door/tasks/main.yml"


@pytest.mark.parametrize(
    ("check", "file", "old", "new", "problem"),
    [
        (
            spec_against_defaults,
            DEFAULTS,
            "door_width: 80",
            "door_width: 90",
            "door: door_width (main) is 80 in the spec, 90 in the defaults",
        ),
        (
            spec_against_defaults,
            DEFAULTS,
            "door_width: 80",
            'door_width: "80"',
            'door: door_width (open) is 80 in the spec, "80" in the defaults',
        ),
        (
            spec_against_defaults,
            SPEC,
            "default: 80",
            "default: 81",
            "door: door_width (main) is 81 in the spec, 80 in the defaults",
        ),
        (
            spec_against_defaults,
            DEFAULTS,
            "{{ door_name }}",
            "{{ door_name | upper }}",
            'door: door_label (main) is "{{ door_name }}" in the spec, '
            '"{{ door_name | upper }}" in the defaults',
        ),
        (
            spec_against_defaults,
            DEFAULTS,
            "door_width: 80\n",
            "",
            "door: door_width (main) has a default in the spec only",
        ),
        (
            spec_against_defaults,
            DEFAULTS,
            "door_width",
            "door_colour: red\ndoor_width",
            "door: door_colour has a default, but not in the spec of main",
        ),
        (
            spec_against_defaults,
            DEFAULTS,
            "door_width",
            "door_name: front\ndoor_width",
            "door: door_name has a default, but not in the spec of main",
        ),
        (
            spec_against_defaults,
            SPEC,
            "required: true",
            "required: true\n        default: front",
            "door: door_name (main) is required, yet its spec gives a default",
        ),
        (
            spec_against_defaults,
            "roles/_hinge/meta/argument_specs.yml",
            "main",
            "turn",
            "_hinge: no argument spec for main",
        ),
        (
            entry_points_against_tasks,
            SPEC,
            "  open:",
            "  close:",
            "door: the spec has close, tasks/ has not",
        ),
        (
            names_carry_the_prefix,
            DEFAULTS,
            "door_width",
            "width",
            "door: width lacks the prefix door_",
        ),
        (
            names_carry_the_prefix,
            SPEC,
            "door_name:",
            "gate_name:",
            "door: gate_name lacks the prefix door_",
        ),
        (
            names_carry_the_prefix,
            "roles/_hinge/meta/argument_specs.yml",
            "main: {}",
            "main: {options: {hinge_side: {}}}",
            "_hinge: hinge_side lacks the prefix _hinge_",
        ),
        (
            options_are_used,
            "roles/door/vars/main.yml",
            "{{ door_width }}",
            "",
            "door: nothing reads door_width",
        ),
        (
            internals_are_defined,
            TASKS,
            "__door_text",
            "__door_txet",
            "door: __door_txet is defined nowhere",
        ),
        (
            internals_are_defined,
            "roles/_hinge/tasks/main.yml",
            "ping:",
            "debug:\n    msg: '{{ __door_text }}'",
            "_hinge: __door_text belongs to the role door",
        ),
        (
            internals_are_defined,
            "roles/_hinge/tasks/main.yml",
            "ping:",
            "debug:\n    msg: '{{ __hinge_side }}'",
            "_hinge: __hinge_side is defined nowhere",
        ),
        (
            readmes_are_current,
            SPEC,
            "In centimetres.",
            "In inches.",
            "door: README.md is not what `make docs` writes",
        ),
        (
            readmes_are_current,
            "roles/door/README.md",
            "Hang the door",
            "Hang it",
            "door: README.md is not what `make docs` writes",
        ),
        (
            versions_agree,
            "galaxy.yml",
            "1.10.0",
            "1.11.0",
            "galaxy.yml has version 1.11.0, the changelog ends at 1.10.0",
        ),
        (nothing_unfinished, TASKS, "- name", f"# {A_NOTE}: paint\n- name", f"{TASKS}:2: {A_NOTE}"),
        (no_machine_paths, TASKS, "- name", f"# {A_PATH}notes\n- name", f"{TASKS}:2: {A_PATH}"),
        (
            no_swallowed_failures,
            TASKS,
            "- name: Hang\n",
            "- name: Hang\n  ignore_errors: true\n",
            f"{TASKS}:3: ignore_errors:",
        ),
        (
            no_swallowed_failures,
            TASKS,
            "- name: Hang\n",
            "- name: Hang\n  failed_when: false\n",
            f"{TASKS}:3: failed_when: false",
        ),
        (
            newlines_are_newlines,
            TASKS,
            "- name: Hang\n",
            "- name: Hang\n  vars:\n    text: >-\n      {{ doors | join('\\n') }}\n",
            f"{TASKS}:5: {{{{ doors | join('\\n')",
        ),
    ],
)
def test_one_side_edited_alone_is_found(
    small: Path, check: Check, file: str, old: str, new: str, problem: str
) -> None:
    path = small / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert problem in problems_of(check, small)


def test_a_missing_readme_is_found(small: Path) -> None:
    (small / "roles/door/README.md").unlink()
    assert readmes_are_current(small / "roles") != []


def test_the_docs_command_fails_on_a_difference_and_mends_it(small: Path) -> None:
    (small / "roles/door/README.md").write_text("old\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "tools" / "role_docs.py"), str(small / "roles")]

    def run(*more: str) -> tuple[int, str]:
        done = subprocess.run([*command, *more], check=False, capture_output=True, text=True)
        return done.returncode, done.stdout

    assert run("--check") == (1, "door/README.md differs from its spec: run `make docs`\n")
    assert run() == (0, "wrote door/README.md\n")
    assert run("--check") == (0, "")


def test_the_readme_as_a_whole(small: Path) -> None:
    assert (small / "roles/door/README.md").read_text(encoding="utf-8") == (
        f"""{role_docs.NOTE}

# realtime.flask_socketio.door

A door.

## Entry points

### main

Hang the door.

| Variable | Type | Default | Meaning |
| --- | --- | --- | --- |
| `door_name` | str | **required** | What is written on it. |
| `door_width` | int | `80` | In centimetres. |
| `door_label` | str | `{{{{ door_name }}}}` | As written. |

### open

Open the door.

Takes the options of [main](#main).
"""
    )
