/** What this browser remembers of the viewer's choices, where it may remember anything. */

export function kept(name: string): string | null {
  try {
    return localStorage.getItem(`ebbtide.${name}`);
  } catch {
    return null;
  }
}

export function keep(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(`ebbtide.${name}`);
    else localStorage.setItem(`ebbtide.${name}`, value);
  } catch {
    // The choice holds until the page is closed.
  }
}
