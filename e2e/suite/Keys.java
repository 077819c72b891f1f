package org.apache.rocketmq.test.base;

import java.lang.reflect.Method;
import java.util.Properties;
import java.util.TreeMap;
import javassist.util.proxy.ProxyFactory;
import javassist.util.proxy.ProxyObject;

/** The keys and values of Java's configurations, which are beans. */
final class Keys {
    private Keys() {
    }

    /** The keys that a configuration has other values for than a new one. */
    static TreeMap<String, String> changed(Object config, Object fresh) {
        TreeMap<String, String> keys = new TreeMap<>();
        for (Method set : fresh.getClass().getMethods()) {
            Object value = key(set) == null ? null : get(config, set);
            if (value != null && !value.equals(get(fresh, set))) {
                keys.put(key(set), value.toString());
            }
        }
        return keys;
    }

    /** The key that a method sets, or null. */
    private static String key(Method set) {
        if (!set.getName().startsWith("set") || set.getParameterCount() != 1 || set.getName().length() < 4) {
            return null;
        }
        return Character.toLowerCase(set.getName().charAt(3)) + set.getName().substring(4);
    }

    /** What a configuration has for the key that a method sets, or null. */
    private static Object get(Object config, Method set) {
        for (String prefix : new String[] {"get", "is"}) {
            try {
                Method get = config.getClass().getMethod(prefix + set.getName().substring(3));
                if (get.getReturnType() == set.getParameterTypes()[0]) { // some can be set in other forms too
                    return get.invoke(config);
                }
            } catch (NoSuchMethodException e) {
                continue;
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
        }
        return null;
    }

    interface Teller {
        void tell(Properties keys);
    }

    /** A configuration with the values of another; what is set in it from now on, the server is told. */
    static <T> T told(T config, Class<T> type, Teller server) {
        boolean[] live = {false};
        try {
            ProxyFactory factory = new ProxyFactory();
            factory.setSuperclass(type);
            Object copy = factory.createClass().getDeclaredConstructor().newInstance();
            ((ProxyObject) copy).setHandler((self, method, proceed, args) -> {
                Object result = proceed.invoke(self, args);
                if (live[0] && key(method) != null && !method.getName().equals("setListenPort")) {
                    Properties keys = new Properties();
                    keys.put(key(method), String.valueOf(args[0]));
                    server.tell(keys);
                }
                return result;
            });
            for (Method set : type.getMethods()) {
                Object value = key(set) == null ? null : get(config, set);
                if (value != null) {
                    set.invoke(copy, value);
                }
            }
            live[0] = true;
            return type.cast(copy);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }
}
