import { expect, test } from 'vitest';
import { Queue } from './queue';

test('no more tasks run at once than the queue is wide', async () => {
  const queue = new Queue(2);
  let running = 0;
  let most = 0;
  const task = async (): Promise<void> => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running--;
  };

  await Promise.all(Array.from({ length: 7 }, () => queue.run(task)));

  expect(most).toBe(2);
});

test('a task aborted while it waits never starts', async () => {
  const queue = new Queue(1);
  const controller = new AbortController();
  let started = false;
  const first = queue.run(() => new Promise((resolve) => setTimeout(resolve, 5)));
  const second = queue.run(async () => {
    started = true;
  }, controller.signal);

  controller.abort();

  await first;
  await expect(second).rejects.toThrow();
  expect(started).toBe(false);
});

test('a failing task leaves its place to the next', async () => {
  const queue = new Queue(1);

  await expect(queue.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');

  expect(await queue.run(async () => 3)).toBe(3);
});
