package kat;

import io.etcd.jetcd.ByteSequence;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Runs checks in order: a line for each that passed, and the name of the one that failed. */
final class Checks {
  /** A check throws when it fails. */
  interface Check {
    void run() throws Exception;
  }

  private static final int PATIENCE_SECONDS = 20;

  private final Map<String, Check> checks = new LinkedHashMap<>();

  Checks add(String name, Check check) {
    checks.put(name, check);
    return this;
  }

  /** Runs all and ends the program, whose threads would keep it alive. */
  void runAll() {
    for (Map.Entry<String, Check> each : checks.entrySet()) {
      try {
        each.getValue().run();
      } catch (Throwable failure) {
        failure.printStackTrace();
        System.out.println("FAILED: " + each.getKey());
        System.exit(1);
      }
      System.out.println("ok: " + each.getKey());
    }
    System.exit(0);
  }

  /** The answer of a call. */
  static <T> T must(CompletableFuture<T> call) throws Exception {
    return call.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
  }

  /** Fails unless the call is refused with an error that says this. */
  static void refused(String text, CompletableFuture<?> call) throws Exception {
    Object answer;
    try {
      answer = must(call);
    } catch (ExecutionException refusal) {
      saysSo(text, refusal);
      return;
    }
    throw new AssertionError("was not refused: " + answer);
  }

  /** Fails unless the error, or one that caused it, says this. */
  static void saysSo(String text, Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause.toString().contains(text)) {
        return;
      }
    }
    throw new AssertionError("was refused otherwise than with \"" + text + "\"", error);
  }

  /** Takes the next item, but does not wait for ever. */
  static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
    T item = queue.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
    if (item == null) {
      throw new AssertionError("nothing came in time");
    }
    return item;
  }

  /** Fails unless both are the same. */
  static void equal(Object found, Object wanted) {
    if (!Objects.equals(found, wanted)) {
      throw new AssertionError("found " + found + ", wanted " + wanted);
    }
  }

  static ByteSequence bytes(String text) {
    return ByteSequence.from(text, StandardCharsets.UTF_8);
  }
}
