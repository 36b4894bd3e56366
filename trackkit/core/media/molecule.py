"""`Molecule`: structures in the formats of chemistry."""

from __future__ import annotations

import os
from typing import Any, Final

from trackkit.core.media.libraries import load
from trackkit.core.media.snapshot import Media, Snapshot, check_caption, check_file, named

FILE_TYPES: Final = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol", "mol2", "mmtf", "xyz")


class Molecule(Media):
    """A molecule.

    Parameters
    ----------
    data_or_path
        The path of a file, an open file, or its text.
    caption
        Text shown with it.
    file_type
        One of pdb, pqr, mmcif, mcif, cif, sdf, sd, gro, mol, mol2, mmtf, xyz; by default what the file's name says.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or the type is not known.
    FileNotFoundError
        If there is no such file.
    """

    kind = "molecule"

    def __init__(self, data_or_path: Any, caption: str | None = None, file_type: str | None = None) -> None:
        self.caption = check_caption(caption)
        kind = file_type
        if isinstance(data_or_path, os.PathLike) or (isinstance(data_or_path, str) and "\n" not in data_or_path):
            self._data: Any = check_file(data_or_path, "trackkit.Molecule")
            kind = kind or self._data.suffix.lstrip(".").lower()
        else:
            content = data_or_path
            if hasattr(content, "read"):
                kind = kind or os.path.splitext(str(getattr(content, "name", "")))[1].lstrip(".").lower() or None
                content = content.read()
            if not isinstance(content, str | bytes):
                raise TypeError(f"trackkit.Molecule takes a path, an open file or text, not {type(content).__name__}")
            self._data = content.encode() if isinstance(content, str) else content
        if kind not in FILE_TYPES:
            raise ValueError(f"trackkit.Molecule needs a file_type: one of {', '.join(FILE_TYPES)}; it got {kind!r}")
        self._type = kind

    def snapshot(self) -> Snapshot:
        noted = named(caption=self.caption)
        if isinstance(self._data, bytes):
            return Snapshot("molecule", "bytes", {"extension": self._type}, noted, [self._data])
        return Snapshot("molecule", "file", {"extension": self._type}, noted, file=self._data)

    @classmethod
    def from_rdkit(cls, data_or_path: Any, caption: str | None = None, **compatible: Any) -> Molecule:
        """A molecule of RDKit's.

        Raises
        ------
        ImportError
            If RDKit is not installed.
        """
        chemistry = load("rdkit.Chem", "trackkit.Molecule.from_rdkit")
        return cls(chemistry.MolToMolBlock(data_or_path), caption, "mol")

    @classmethod
    def from_smiles(cls, data: str, caption: str | None = None, sanitize: bool = True, **compatible: Any) -> Molecule:
        """A molecule in SMILES notation, laid out by RDKit; raises as `from_rdkit`.

        Raises
        ------
        ValueError
            If the notation can't be read.
        """
        chemistry = load("rdkit.Chem", "trackkit.Molecule.from_smiles")
        molecule = chemistry.MolFromSmiles(data, sanitize=sanitize)
        if molecule is None:
            raise ValueError(f"trackkit.Molecule can't read {data!r} as SMILES")
        load("rdkit.Chem.AllChem", "trackkit.Molecule.from_smiles").Compute2DCoords(molecule)
        return cls.from_rdkit(molecule, caption)
