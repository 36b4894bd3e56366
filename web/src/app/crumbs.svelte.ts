/** What the top bar says of a page whose address alone doesn't tell: a run's project and name. */
class Crumbs {
  project = $state('');
  name = $state('');
  /** The project page as it was left, so that going up shows the same again. */
  back = $state<string | null>(null);

  set(project: string, name: string): void {
    if (this.back !== null && !this.back.startsWith(`/projects/${encodeURIComponent(project)}`)) this.back = null;
    this.project = project;
    this.name = name;
    document.title = [name, project, 'trackkit'].filter(Boolean).join(' · ');
  }
}

export const crumbs = new Crumbs();
