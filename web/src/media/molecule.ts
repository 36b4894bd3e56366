const FORMATS: Record<string, string> = { pdb: 'pdb', pqr: 'pqr', mmcif: 'mcif', mcif: 'mcif', cif: 'cif', sdf: 'sdf', sd: 'sdf', mol: 'sdf', gro: 'gro', mol2: 'mol2', mmtf: 'mmtf', xyz: 'xyz' };

/** What the viewer of molecules calls the format of a file; null where it knows none of it. */
export function formatOf(extension: string): string | null {
  return FORMATS[extension] ?? null;
}
