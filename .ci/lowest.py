"""Print `name==version` for the lower bound of each core dependency: `python .ci/lowest.py pyproject.toml`."""

import re
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
for dependency in project["dependencies"]:
    match = re.match(r"([\w.-]+)>=([\w.]+)", dependency)
    if match is None:
        sys.exit(f"no lower bound: {dependency}")
    print(f"{match[1]}=={match[2]}")
