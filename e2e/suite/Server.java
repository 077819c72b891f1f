package org.apache.rocketmq.test.base;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** A NameServer or broker that runs as a process of its own. */
final class Server {
    final int port;
    private final String name;
    private final Process process;

    private Server(String name, Process process, int port) {
        this.name = name;
        this.process = process;
        this.port = port;
    }

    boolean up() {
        return process.isAlive();
    }

    String address() {
        return "127.0.0.1:" + port;
    }

    static String folder(String name) {
        try {
            return Files.createTempDirectory(Files.createDirectories(Path.of(System.getProperty("outside.dir"))), name + "-").toString();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Starts a server with these keys and returns when it says that it is up. It ends when this process does, however that is. */
    static Server start(String name, String command, TreeMap<String, String> keys) {
        String dir = folder(name);
        int port = freePort();
        keys.put("listenPort", Integer.toString(port));
        if (keys.containsKey("brokerName")) {
            keys.put("haListenPort", Integer.toString(port + 1));
        }
        StringBuilder text = new StringBuilder();
        keys.forEach((key, value) -> text.append(key).append('=').append(value).append('\n'));
        try {
            Path conf = Files.writeString(Path.of(dir, "server.conf"), text);
            Path log = Path.of(dir, "server.log");
            List<String> line = new ArrayList<>(Arrays.asList("sh", "-c", "exec 3<&0; \"$@\" & server=$!; (read end <&3; kill $server) & reader=$!; wait $server; kill $reader", "sh"));
            line.addAll(Arrays.asList(command.replace("@DIR@", dir).split(" ")));
            line.addAll(Arrays.asList("-c", conf.toString()));
            Process process = new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log.toFile()).start();
            for (long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(3); !Files.readString(log).contains("boot success"); Thread.sleep(50)) {
                if (System.nanoTime() > end || !process.isAlive()) {
                    throw new IllegalStateException(name + " does not start: " + Files.readString(log));
                }
            }
            return new Server(name, process, port);
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    void stop() {
        try {
            process.getOutputStream().close();
            if (!process.waitFor(1, TimeUnit.MINUTES)) {
                throw new IllegalStateException(name + " does not end");
            }
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** N such that a broker may have N, N-2 and N+1, below the ports that the kernel gives to outgoing connections. */
    private static int freePort() {
        while (true) {
            int port = 11000 + 4 * ThreadLocalRandom.current().nextInt(5000);
            if (free(port - 2) && free(port) && free(port + 1)) {
                return port;
            }
        }
    }

    private static boolean free(int port) {
        try (ServerSocket socket = new ServerSocket()) {
            socket.bind(new InetSocketAddress("127.0.0.1", port));
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
