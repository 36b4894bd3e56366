// Where the person is: the address is the state, so that a link shows what its sender saw.

export type Route =
  | { page: 'home' }
  | { page: 'project'; project: string }
  | { page: 'run'; run: string; tab: string }
  | { page: 'compare'; runs: string[] }
  | { page: 'artifacts'; project: string }
  | { page: 'artifact'; project: string; name: string; version: string; tab: string }
  | { page: 'registry' }
  | { page: 'missing' };

/** The page an address names. */
export function routeOf(path: string, search: URLSearchParams): Route {
  const parts = path.split('/').filter(Boolean).map(decode);
  const [place, name, tab] = parts;
  if (place === undefined) return { page: 'home' };
  if (place === 'projects' && name !== undefined && parts.length === 2) return { page: 'project', project: name };
  if (place === 'projects' && name !== undefined && tab === 'artifacts' && parts.length <= 6) {
    const [artifact, version, part] = parts.slice(3);
    return artifact === undefined ? { page: 'artifacts', project: name } : { page: 'artifact', project: name, name: artifact, version: version ?? '', tab: part ?? 'overview' };
  }
  if (place === 'registry' && parts.length === 1) return { page: 'registry' };
  if (place === 'runs' && name !== undefined && parts.length <= 3) return { page: 'run', run: name, tab: tab ?? 'overview' };
  if (place === 'compare' && parts.length === 1) return { page: 'compare', runs: (search.get('runs') ?? '').split(',').filter(Boolean) };
  return { page: 'missing' };
}

export function projectPath(project: string): string {
  return `/projects/${encodeURIComponent(project)}`;
}

export function runPath(run: string, tab?: string): string {
  const path = `/runs/${encodeURIComponent(run)}`;
  return tab === undefined || tab === 'overview' ? path : `${path}/${tab}`;
}

export function artifactsPath(project: string): string {
  return `${projectPath(project)}/artifacts`;
}

/** An artifact's page; of its newest version, if none is named. */
export function artifactPath(project: string, name: string, version = '', tab = ''): string {
  const path = `${artifactsPath(project)}/${encodeURIComponent(name)}`;
  return [path, version === '' ? '' : encodeURIComponent(version), version === '' || tab === 'overview' ? '' : tab].filter(Boolean).join('/');
}

export function comparePath(runs: string[]): string {
  return `/compare?runs=${runs.map(encodeURIComponent).join(',')}`;
}

class Router {
  path = $state(location.pathname);
  search = $state(location.search);
  hash = $state(location.hash);
  /** Rises when the address was changed by the person (a link, back, forward), not by the page writing its state. */
  visits = $state(0);

  get route(): Route {
    return routeOf(this.path, new URLSearchParams(this.search));
  }

  constructor() {
    addEventListener('popstate', () => this.arrive());
    addEventListener('hashchange', () => this.arrive());
    addEventListener('click', (event) => this.follow(event));
  }

  go(address: string): void {
    if (address !== location.pathname + location.search + location.hash) history.pushState(null, '', address);
    this.arrive();
  }

  /** Write the page's state into the address, without a step in the history. */
  record(search: string, hash: string): void {
    if (search === location.search && hash === location.hash) return;
    history.replaceState(null, '', location.pathname + search + hash);
    this.search = search;
    this.hash = hash;
  }

  private arrive(): void {
    this.path = location.pathname;
    this.search = location.search;
    this.hash = location.hash;
    this.visits++;
  }

  private follow(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.('a[href]');
    if (!(link instanceof HTMLAnchorElement) || link.target !== '' || link.hasAttribute('download')) return;
    if (link.origin !== location.origin || /^\/(api|docs|metrics|health)/.test(link.pathname)) return;
    event.preventDefault();
    this.go(link.pathname + link.search + link.hash);
    scrollTo(0, 0);
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const router = new Router();
