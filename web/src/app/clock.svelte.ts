/** The time now, in seconds, for relative times; it moves slowly so that nothing flickers. */
class Clock {
  now = $state(Date.now() / 1000);

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.now = Date.now() / 1000;
    }, 10_000);
  }
}

export const clock = new Clock();
