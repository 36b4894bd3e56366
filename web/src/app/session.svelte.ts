import { logIn, logOut, session as ask, whenUnauthorized } from '../api/client';
import type { Session } from '../api/contract';

class Account {
  session = $state<Session | null>(null);
  canWrite = $derived(this.session !== null && this.session.scope !== 'read');
  mustLogIn = $derived(this.session !== null && this.session.auth_required && !this.session.authenticated);

  constructor() {
    whenUnauthorized(() => {
      if (this.session !== null) this.session = { ...this.session, authenticated: false, auth_required: true };
    });
  }

  async load(): Promise<void> {
    this.session = await ask();
  }

  async logIn(token: string): Promise<void> {
    this.session = await logIn(token);
  }

  async logOut(): Promise<void> {
    await logOut();
    await this.load();
  }
}

export const account = new Account();
