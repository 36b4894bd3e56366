export type ThemeChoice = 'system' | 'light' | 'dark';

const KEY = 'trackkit-theme';

/** Light or dark: the system's, unless the person chose. Charts read `dark` to pick their inks. */
class Theme {
  choice = $state<ThemeChoice>((localStorage.getItem(KEY) as ThemeChoice | null) ?? 'system');
  private systemDark = $state(false);
  dark = $derived(this.choice === 'dark' || (this.choice === 'system' && this.systemDark));

  constructor() {
    const query = matchMedia('(prefers-color-scheme: dark)');
    this.systemDark = query.matches;
    query.addEventListener('change', () => {
      this.systemDark = query.matches;
      this.apply();
    });
    this.apply();
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    if (choice === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
    this.apply();
  }

  next(): void {
    this.choose(this.dark ? 'light' : 'dark');
  }

  private apply(): void {
    document.documentElement.dataset.theme = this.dark ? 'dark' : 'light';
  }
}

export const theme = new Theme();

/** The value of a design token, for canvases. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
