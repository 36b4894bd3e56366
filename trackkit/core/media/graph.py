"""`Graph`: nodes and edges, such as those of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trackkit.core.media.libraries import is_a
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, named
from trackkit.core.records import Json

_ROOT = "(model)"
"""The id of the module itself in the graph of its submodules."""


class Graph(Media):
    """A directed graph.

    Parameters
    ----------
    nodes
        Dicts with an `id`, and whatever else is to be shown of a node; or a torch module, as `Graph.from_torch`.
    edges
        Pairs of ids, or dicts with `source` and `target`.
    caption
        Text shown with it.

    Raises
    ------
    TypeError, ValueError
        If a node has no id, two have the same, or an edge leads to none.

    Examples
    --------
    >>> graph = Graph([{"id": "a"}, {"id": "b", "label": "second"}], [("a", "b")])
    >>> graph.nodes[1]["label"], graph.edges
    ('second', [{'source': 'a', 'target': 'b'}])
    """

    kind = "graph"

    def __init__(self, nodes: Any = (), edges: Iterable[Any] = (), caption: str | None = None) -> None:
        self.caption = check_caption(caption)
        self.nodes: list[dict[str, Json]] = []
        self.edges: list[dict[str, Json]] = []
        self._ids: set[str] = set()
        if _is_module(nodes):
            nodes, edges = _of_module(nodes)
        for node in nodes:
            if not isinstance(node, Mapping) or "id" not in node:
                raise TypeError(f"a node of a trackkit.Graph must be a dict with an 'id', not {node!r:.60}")
            self.add_node(**node)
        for edge in edges:
            ends = (edge.get("source"), edge.get("target")) if isinstance(edge, Mapping) else edge
            more = (
                {key: edge[key] for key in edge if key not in ("source", "target")} if isinstance(edge, Mapping) else {}
            )
            if not isinstance(ends, tuple | list) or len(ends) != 2:
                raise TypeError(f"an edge of a trackkit.Graph must be a pair of ids, not {edge!r:.60}")
            self.add_edge(ends[0], ends[1], **more)

    def add_node(self, id: Any, **facts: Json) -> None:
        """Add a node.

        Raises
        ------
        ValueError
            If there is one of that id.
        """
        if str(id) in self._ids:
            raise ValueError(f"a trackkit.Graph has one node of each id, and {str(id)!r} is there already")
        self._ids.add(str(id))
        self.nodes.append({"id": str(id), **facts})

    def add_edge(self, source: Any, target: Any, **facts: Json) -> None:
        """Add an edge.

        Raises
        ------
        ValueError
            If there is no node of one of the ids.
        """
        for end in (str(source), str(target)):
            if end not in self._ids:
                raise ValueError(f"an edge of a trackkit.Graph leads to {end!r}, which is no node")
        self.edges.append({"source": str(source), "target": str(target), **facts})

    @classmethod
    def from_torch(cls, module: Any, caption: str | None = None) -> Graph:
        """The graph of a torch module: of its operations where `torch.fx` can trace it, else of its submodules.

        Nodes have a `label` (the class or function), `module` (the submodule's name), `parameters` (how many it has),
        and in the graph of submodules `parent`.

        Raises
        ------
        TypeError
            If it is no module.
        """
        if not _is_module(module):
            raise TypeError(f"trackkit.Graph.from_torch takes a torch module, not {type(module).__name__}")
        return cls(module, caption=caption)

    def snapshot(self) -> Snapshot:
        try:
            content = msgspec.json.encode({"nodes": self.nodes, "edges": self.edges})
        except TypeError as error:
            raise TypeError(f"a trackkit.Graph holds what JSON can't: {error}") from None
        noted = named(caption=self.caption, nodes=len(self.nodes), edges=len(self.edges))
        return Snapshot("graph", "bytes", {"extension": "json"}, noted, [content])


def _is_module(value: Any) -> bool:
    return is_a(value, "torch", "nn.Module")


def _of_module(module: Any) -> tuple[list[dict[str, Json]], list[tuple[str, str]]]:
    import importlib

    try:
        traced = importlib.import_module("torch.fx").symbolic_trace(module)
    except Exception:  # control flow that depends on the data
        return _of_submodules(module)
    nodes, edges = [], []
    for node in traced.graph.nodes:
        target = (
            str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        )
        facts: dict[str, Json] = {"id": node.name, "operation": node.op, "label": target}
        if node.op == "call_module":
            submodule = module.get_submodule(node.target)
            facts.update(label=type(submodule).__name__, module=node.target, parameters=_count(submodule))
        nodes.append(facts)
        edges += [(source.name, node.name) for source in node.all_input_nodes]
    return nodes, edges


def _of_submodules(module: Any) -> tuple[list[dict[str, Json]], list[tuple[str, str]]]:
    nodes, edges = [], []
    for name, submodule in module.named_modules():
        id = name or _ROOT
        facts: dict[str, Json] = {
            "id": id,
            "label": type(submodule).__name__,
            "module": name,
            "parameters": _count(submodule),
        }
        if name:
            parent = name.rpartition(".")[0] or _ROOT
            facts["parent"] = parent
            edges.append((parent, id))
        nodes.append(facts)
    return nodes, edges


def _count(module: Any) -> int:
    return sum(int(parameter.numel()) for parameter in module.parameters())
