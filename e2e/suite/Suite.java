import java.io.PrintStream;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs one class of Java's tests, but the methods that are named behind it. Each test is one line of output,
 * {@code @test=NAME&result=pass|fail|ignored&ms=N&error=TRACE}; other lines are anybody's.
 */
public class Suite {
    public static void main(String[] args) throws Exception {
        Set<String> leftOut = new HashSet<>(Arrays.asList(args).subList(1, args.length));
        JUnitCore core = new JUnitCore();
        core.addListener(new Teller(System.out));
        Request request = Request.aClass(Class.forName(args[0])).filterWith(new Filter() {
            @Override
            public boolean shouldRun(Description description) {
                return !description.isTest() || !leftOut.contains(description.getMethodName());
            }

            @Override
            public String describe() {
                return "but " + leftOut;
            }
        });
        core.run(request);
        Runtime.getRuntime().halt(0); // clients that tests have left do not end by themselves
    }

    private static class Teller extends RunListener {
        private final PrintStream out;
        private long began;
        private Failure failure;

        Teller(PrintStream out) {
            this.out = out;
        }

        @Override
        public void testStarted(Description test) {
            began = System.nanoTime();
            failure = null;
        }

        @Override
        public void testFailure(Failure failure) {
            this.failure = failure;
            if (!failure.getDescription().isTest()) { // of what is done once for the class
                tell("(class)", "fail", failure.getTrace());
            }
        }

        @Override
        public void testAssumptionFailure(Failure failure) {
            tell(failure.getDescription().getMethodName(), "ignored", failure.getMessage());
        }

        @Override
        public void testIgnored(Description test) {
            tell(test.getMethodName(), "ignored", "");
        }

        @Override
        public void testFinished(Description test) {
            tell(test.getMethodName(), failure == null ? "pass" : "fail", failure == null ? "" : failure.getTrace());
        }

        private void tell(String test, String result, String error) {
            long ms = (System.nanoTime() - began) / 1_000_000;
            String line = "@test=" + encoded(String.valueOf(test)) + "&result=" + result + "&ms=" + ms + "&error=" + encoded(String.valueOf(error));
            synchronized (out) {
                out.println("\n" + line); // behind what a client may have printed without an end of line
            }
        }

        private static String encoded(String text) {
            return URLEncoder.encode(text, StandardCharsets.UTF_8);
        }
    }
}
