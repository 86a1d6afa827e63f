// Thrown by a test that cannot be played here; the reason is told.
export class Skipped extends Error {}
