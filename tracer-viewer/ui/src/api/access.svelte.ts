/** Whether the viewer lets this page read. */
class Access {
  /** Whether it asked for a token. */
  isRefused = $state(false);
}

export const access = new Access();
